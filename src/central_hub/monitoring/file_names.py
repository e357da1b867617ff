"""Whether the names in infrastructure.yaml lead somewhere: components, channels, rules, and no circle. Pure.

Looks at the document before it is held against the models, so that a wrong port in one place hides no wrong name in
another. What is not of the right type is passed over.
"""

from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from central_hub.monitoring.component_types import TYPES, check_component
from central_hub.monitoring.fault import Fault, Path, guess, items, mapping, quoted
from central_hub.monitoring.file_format import Probe
from central_hub.monitoring.infrastructure import Section
from central_hub.monitoring.probes.options import OPTIONS, check_options
from central_hub.monitoring.rules import ChannelType

BUILT_IN_CHANNELS: Final = (ChannelType.LOG.value, ChannelType.NATS.value)
_OF_A_NEW_RULE: Final = ("when", "severity", "summary")
_MOST_CIRCLES: Final = 10


def check_names(document: Mapping[str, Any], default_rules: Collection[str]) -> Iterator[Fault]:
    """All that leads nowhere."""
    components: dict[str, Path] = {}
    for section in Section:
        for name in mapping(document.get(section)):
            if (first := components.setdefault(name, (section, name))) != (section, name):
                sentence = f"the component {quoted(name)} stands in {first[0]} already; a name is for one component"
                yield Fault((section, name), sentence, is_of_key=True)
    names = list(components)
    for path in components.values():
        component = mapping(_at(document, path))
        yield from check_component(component, path)
        yield from _options_of_the_probe(component, (*path, "probe"))
        yield from _keys_that_name(component.get("depends_on"), (*path, "depends_on"), names)
    for service, needs in mapping(document.get("services")).items():
        yield from _keys_that_name(needs, ("services", service), names)
    for number, window in enumerate(items(document.get("maintenance"))):
        targets = mapping(window).get("targets")
        yield from _items_that_name(targets, ("maintenance", number, "targets"), names, "component")
    yield from _alerts(mapping(document.get("alerts")), names, default_rules)
    yield from _circles(document, components)


def _options_of_the_probe(component: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    """What its kind of probe does not know, or not in this way."""
    probe = mapping(component.get("probe"))
    known = TYPES.get(str(component.get("type")))
    kind = probe.get("kind") or (known.probe if known is not None else None)
    if not isinstance(kind, str):
        return
    options = {name: value for name, value in probe.items() if name not in Probe.model_fields}
    for where, sentence in check_options(kind, options):
        is_unknown = bool(where) and where[0] not in OPTIONS[kind].model_fields
        yield Fault((*path, *where), sentence, is_of_key=is_unknown)


def _alerts(alerts: Mapping[str, Any], components: list[str], default_rules: Collection[str]) -> Iterator[Fault]:
    channels = mapping(alerts.get("channels"))
    for name in BUILT_IN_CHANNELS:
        if name in channels and mapping(channels[name]).get("type") != name:
            sentence = f"the channel `{name}` is always there, and of the type {name}: choose another name"
            yield Fault(("alerts", "channels", name), sentence, is_of_key=True)
    for name, rule in mapping(alerts.get("rules")).items():
        path = ("alerts", "rules", name)
        known = list(dict.fromkeys([*channels, *BUILT_IN_CHANNELS]))
        yield from _items_that_name(mapping(rule).get("notify"), (*path, "notify"), known, "channel")
        when = mapping(mapping(rule).get("when"))
        if "infrastructure" in when:
            yield from _items_that_name(when.get("names"), (*path, "when", "names"), components, "component")
        missing = [key for key in _OF_A_NEW_RULE if mapping(rule).get(key) is None]
        if name not in default_rules and missing:
            sentence = f"a rule that the hub does not have by itself needs {', '.join(f'`{key}`' for key in missing)}"
            yield Fault(path, sentence + guess(name, sorted(default_rules)), is_of_key=True)


def _keys_that_name(needs: Any, path: Path, known: list[str]) -> Iterator[Fault]:
    for name in mapping(needs):
        if name not in known:
            yield Fault((*path, name), f"there is no component {quoted(name)}{guess(name, known)}", is_of_key=True)


def _items_that_name(names: Any, path: Path, known: list[str], what: str) -> Iterator[Fault]:
    for number, name in enumerate(items(names)):
        if name not in known:
            # Not the name itself: it is a value, and may have come from a variable.
            yield Fault((*path, number), f"there is no {what} of this name{guess(name, known)}")


def _circles(document: Mapping[str, Any], components: Mapping[str, Path]) -> Iterator[Fault]:
    needs = {
        name: {other for other in mapping(mapping(_at(document, path)).get("depends_on")) if other in components}
        for name, path in components.items()
    }
    for _ in range(_MOST_CIRCLES):
        try:
            TopologicalSorter(needs).prepare()
            return
        except CycleError as error:
            circle = error.args[1][::-1]  # each depends on the one behind it
        first = circle.index(min(circle))
        circle = [*circle[first:-1], *circle[:first], circle[first]]
        sentence = f"these depend on each other in a circle: {' → '.join(circle)}"
        yield Fault((*components[circle[0]], "depends_on", circle[1]), sentence, is_of_key=True)
        needs[circle[0]].discard(circle[1])


def _at(document: Mapping[str, Any], path: Path) -> Any:
    found: Any = document
    for step in path:
        found = found[step]
    return found
