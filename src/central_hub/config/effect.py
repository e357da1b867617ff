"""What changes would do, before it is done: to which configs, of how many instances, and who would notice. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from central_hub.config import diff
from central_hub.config.guards import size_of
from central_hub.config.key_history import places, type_of
from central_hub.config.reach import View
from central_hub.config.snapshot import Key
from central_hub.storage.config_values import DocumentChange
from central_hub.storage.instance_values import Instance
from central_hub.validation.pointers import lies_in
from central_hub_client.wire import DEFAULT_ENVIRONMENT, GLOBAL

MAX_CONFIGS: Final = 100

InstancesOf = Callable[[str], Sequence[Instance]]
Covers = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """All there is to know of changes of documents that are not made: what stands, and what would become of it."""

    view: View
    changes: tuple[DocumentChange, ...]


def effect_of(foreseen: Foreseen, instances_of: InstancesOf, covers: Covers) -> dict[str, Any]:
    """The effect, as it is told to somebody whose scope `covers` may not be all of it: the rest is counted only."""
    changes = foreseen.changes
    altered = list(_altered(foreseen.view, changes, instances_of)) if changes else []
    shown = [config for config in altered if covers(config["service"], config["environment"])]
    return {
        "configs": shown[:MAX_CONFIGS],
        "further_configs": len(altered) - len(shown[:MAX_CONFIGS]),
        "instances": sum(config["instances"] for config in altered),
        "size": _size(foreseen.view, changes) if changes else None,
        "shape": _shape([altered for change in changes for altered in change.changes]),
    }


def _altered(view: View, made: Sequence[DocumentChange], instances_of: InstancesOf) -> Iterable[dict[str, Any]]:
    after = view.after(made)
    own = {change.service for change in made}
    for service, environment in sorted({place for change in made for place in _places(after, change, instances_of)}):
        before, then = view.effective(service, environment), after.effective(service, environment)
        changes = diff.changes(before or {}, then or {})
        if not changes and (before is None) == (then is None):
            continue
        instances = [instance for instance in instances_of(service) if instance.environment == environment]
        leaves = _leaves(changes)
        yield {
            "service": service,
            "environment": environment,
            "changes": changes,
            "instances": len(instances),
            "unread": _unread(leaves, instances) if service in own else [],
            "shadowed": _shadowed(leaves, instances),
        }


def _places(view: View, change: DocumentChange, instances_of: InstancesOf) -> set[Key]:
    """The configs that a change may alter: also of environments that only have instances."""
    services = {change.service} if change.service != GLOBAL else {service for service, _ in view.documents} - {GLOBAL}
    found = {
        (service, environment) for service, environment in view.documents if service in services or service == GLOBAL
    }
    environments = {environment for service, environment in found if service == GLOBAL}
    found = {(service, place) for service, place in found if service != GLOBAL}
    found |= {(service, place) for service in services for place in (environments | {DEFAULT_ENVIRONMENT})}
    found |= {
        (service, instance.environment)
        for service in services
        if service != GLOBAL
        for instance in instances_of(service)
    }
    return {key for key in found if change.environment in (DEFAULT_ENVIRONMENT, key[1])}


def _leaves(changes: Iterable[dict[str, Any]]) -> list[str]:
    """The pointers of all values that are altered, whole objects taken apart."""
    found: dict[str, None] = {}
    for change in changes:
        for side in ("old", "new"):
            if side in change:
                inside = places(change["path"], change[side])
                found.update((pointer, None) for pointer, value in inside if not (isinstance(value, dict) and value))
    return list(found)


def _unread(leaves: Iterable[str], instances: Iterable[Instance]) -> list[str]:
    """The altered keys that no instance reads, where any tells what it reads."""
    told = [{*instance.report.unread, *instance.report.unknown} for instance in instances if instance.stance.applied]
    if not told:
        return []
    return [leaf for leaf in leaves if all(lies_in(leaf, keys) for keys in told)]


def _shadowed(leaves: Iterable[str], instances: Iterable[Instance]) -> list[dict[str, Any]]:
    """The altered keys that instances hide behind settings of their own, and at how many of them."""
    told = [set(instance.report.shadowed) for instance in instances]
    counted = ((leaf, sum(lies_in(leaf, keys) for keys in told)) for leaf in leaves)
    return [{"path": leaf, "instances": count} for leaf, count in counted if count]


def _size(view: View, changes: Sequence[DocumentChange]) -> dict[str, dict[str, int]]:
    """Of all changed documents: their bytes and keys together, and the depth of the deepest."""
    documents = [view.documents.get(change.key) for change in changes]
    before = [size_of((None if document is None else document.config) or {}) for document in documents]
    after = [size_of(change.config or {}) for change in changes]
    return {
        name: {
            "before": total(getattr(size, name) for size in before),
            "after": total(getattr(size, name) for size in after),
        }
        for name, total in (("bytes", sum), ("keys", sum), ("depth", max))
    }


def _shape(changes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts = {"add": 0, "remove": 0, "replace": 0}
    for change in changes:
        counts[change["op"]] += 1
    return {
        "added": counts["add"],
        "removed": counts["remove"],
        "replaced": counts["replace"],
        "retyped": [
            {"path": change["path"], "old": type_of(change["old"]), "new": type_of(change["new"])}
            for change in changes
            if change["op"] == "replace" and type_of(change["old"]) != type_of(change["new"])
        ],
    }
