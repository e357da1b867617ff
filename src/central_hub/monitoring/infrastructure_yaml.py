"""infrastructure.yaml, read: bytes and an environment in, an Infrastructure or all that is wrong out. Pure.

strict_yaml.parse   the one YAML dialect, with the place of every value
file_values         variables filled in, credentials as references, unknown keys found
file_names          every name leads somewhere, nothing depends on itself
file_format         types, ranges, what belongs together
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from central_hub.monitoring import file_format as written
from central_hub.monitoring.component_types import TYPES
from central_hub.monitoring.fault import Fault
from central_hub.monitoring.file_findings import findings
from central_hub.monitoring.file_names import check_names
from central_hub.monitoring.file_values import stand_for
from central_hub.monitoring.infrastructure import Component, Infrastructure, Maintenance, ProbeSettings, Section
from central_hub.monitoring.rules import AlertSettings, ChannelSettings, ChannelType, Rule
from central_hub_client.strict_yaml import Flaw, MalformedYaml, Place, parse

MAX_BYTES: Final = 1024 * 1024
MOST_TOLD: Final = 100
NO_RULES: Final[Mapping[str, Rule]] = MappingProxyType({})

_CONNECTION: Final = "host port url brokers database user password token nkey options".split()


class WrongInfrastructure(ValueError):
    """Everything that is wrong with the file, in the order of its lines. No sentence has a value in it."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        self.flaws = tuple(sorted(set(flaws)))
        told = [str(flaw) for flaw in self.flaws[:MOST_TOLD]]
        if len(self.flaws) >= MOST_TOLD:
            told.append("there may be more that is wrong; the rest is told once this is right")
        super().__init__("\n".join(told))


def read_infrastructure(
    content: bytes, environment: Mapping[str, str], defaults: Mapping[str, Rule] = NO_RULES
) -> Infrastructure:
    """What the file says. `defaults` are the rules that the hub has by itself. Raises WrongInfrastructure."""
    if len(content) > MAX_BYTES:
        raise WrongInfrastructure([Flaw(Place(1, 1), f"the file is larger than {MAX_BYTES // 1024} KiB")])
    try:
        document, root = parse(content)
    except MalformedYaml as error:
        raise WrongInfrastructure(error.flaws) from None
    if not isinstance(document, dict):
        raise WrongInfrastructure([Flaw(root.place, "the whole must be a mapping, with keys and values")])
    document, faults = stand_for(document, environment)
    # Each may be compared with all names there are: a file with thousands of them must not take minutes.
    faults += islice(check_names(document, defaults.keys()), MOST_TOLD)
    try:
        file = written.File.model_validate(document)
    except ValidationError as error:
        known = {fault.path for fault in faults}
        faults += [fault for fault in findings(error, document) if not _is_known(fault, known)]
    if faults:
        raise WrongInfrastructure([fault.in_text(root) for fault in faults])
    return _infrastructure(file, defaults)


def _is_known(fault: Fault, known: set[tuple[str | int, ...]]) -> bool:
    """Whether something else has been said of the same value, or of what it lies in."""
    return any(fault.path[:length] in known for length in range(1, len(fault.path) + 1))


def _infrastructure(file: written.File, defaults: Mapping[str, Rule]) -> Infrastructure:
    components = {
        name: _component(name, section, component)
        for section in Section
        for name, component in getattr(file, section).items()
    }
    windows = (
        Maintenance(frozenset(each.targets), each.begins_at, each.ends_at, each.reason) for each in file.maintenance
    )
    channels = {name: _channel(name, channel) for name, channel in file.alerts.channels.items()}
    rules = {name: _rule(name, rule, defaults.get(name)) for name, rule in file.alerts.rules.items()}
    return Infrastructure(components, file.services, tuple(windows), AlertSettings({**defaults, **rules}, channels))


def _component(name: str, section: Section, said: written.Component) -> Component:
    shape = {key: value for key in _CONNECTION if (value := getattr(said, key)) not in (None, {})}
    return Component(name, section, said.type, shape, _probe(said), said.depends_on, said.description, said.labels)


def _probe(said: written.Component) -> ProbeSettings | None:
    probe = said.probe
    if not probe.enabled:
        return None
    return ProbeSettings(
        probe.kind or TYPES[said.type].probe,
        probe.interval_seconds,
        probe.timeout_seconds,
        probe.failures,
        probe.successes,
        probe.options,
    )


def _channel(name: str, said: Any) -> ChannelSettings:
    return ChannelSettings(name, ChannelType(said.type), said.model_dump(exclude={"type"}, exclude_none=True))


def _rule(name: str, said: written.Rule, default: Rule | None) -> Rule:
    """The rule as it is given, over the one that the hub has by itself."""
    said_so = {key for key in said.model_fields_set if getattr(said, key) is not None}
    given: dict[str, Any] = {key: getattr(said, key) for key in _GIVEN_AS_IT_IS if key in said_so}
    if "notify" in said_so:
        given["notify"] = tuple(said.notify)
    if "enabled" in said_so:
        given["is_enabled"] = said.enabled
    if (when := said.when) is not None:
        given |= {
            "kind": when.kind,
            "states": when.states,
            "names": frozenset(when.names),
            "environments": frozenset(when.environments),
            "only_labels": when.labels,
        }
    return Rule(name=name, **given) if default is None else replace(default, **given)


_GIVEN_AS_IT_IS: Final = "severity summary for_seconds cooldown_seconds labels".split()
