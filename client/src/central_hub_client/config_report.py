"""What an instance says about the configuration it runs on: to the hub, and to whoever looks for a dead key. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from central_hub_client import layers
from central_hub_client.assembly import HUB, Layer, Rejection, Snapshot
from central_hub_client.binding import Binding, leaves
from central_hub_client.sources import HUB_PRIORITY, SAFE_DEFAULTS_PRIORITY
from central_hub_client.wire import Position, content_hash


@dataclass(frozen=True, slots=True)
class Report:
    """What is used of a configuration, and what is not. Paths are dotted, sorted, and name leaves.

    `unknown`: the model does not declare them, so they were dropped. `shadowed`: the hub sets them, a local layer
    above it hides that. `defaulted`: no layer sets them, the model's default counts. `unread`: the hub sets them, and
    nobody ever read them (of a model: no field takes them). `local_keys`: set by this instance's own files, sources
    and environment, so that the hub need not set them.

    `rejected` is the hub's configuration that is offered and not used, `reason` why not, or why a local layer is not.
    """

    unknown: tuple[str, ...] = ()
    shadowed: tuple[str, ...] = ()
    defaulted: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    local_keys: tuple[str, ...] = ()
    applied: Position | None = None
    rejected: Position | None = None
    reason: str | None = None
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    schema_hash: str | None = None


def make_report(
    snapshot: Snapshot[Any] | None,
    binding: Binding[Any],
    rejections: Mapping[str, Rejection],
    *,
    incomplete: str | None = None,
) -> Report:
    schema = binding.json_schema
    refused = rejections.get(HUB)
    # The hub's own first: it is the one that the hub can do something about.
    first = refused or next(iter(rejections.values()), None)
    report = Report(
        rejected=_position(refused),
        reason=first.reason if first is not None else incomplete,
        schema=schema,
        schema_hash=None if schema is None else content_hash(schema),
    )
    if snapshot is None:
        return report
    hub = snapshot.layer(HUB)
    hub_keys = set() if hub is None else _paths(hub)
    local = [layer for layer in snapshot.layers if layer is not hub and layer.priority > SAFE_DEFAULTS_PRIORITY]
    set_above = _paths(*(layer for layer in local if layer.priority > HUB_PRIORITY))
    unknown_to_the_hub = () if hub is None else hub.unknown
    reads = binding.reads
    set_somewhere = _paths(*snapshot.layers)
    return replace(
        report,
        unknown=_sorted(path for layer in snapshot.layers for path in layer.unknown),
        shadowed=_dotted(path for path in hub_keys if _is_set(path, set_above)),
        defaulted=_dotted(path for path, _ in leaves(binding.tree(snapshot.value)) if not _is_set(path, set_somewhere)),
        unread=_sorted(unknown_to_the_hub if reads is None else set(_dotted(hub_keys)) - reads),
        local_keys=_dotted(_paths(*local)),
        applied=None if hub is None or hub.object is None else hub.object.position,
    )


def _paths(*some: Layer) -> set[tuple[str, ...]]:
    """The paths of the leaves that layers set together."""
    return {path for path, _ in leaves(layers.merge([layer.values for layer in some])) if path}


def _is_set(path: tuple[str, ...], found: set[tuple[str, ...]]) -> bool:
    return any(path[:length] in found for length in range(1, len(path) + 1))


def _position(rejection: Rejection | None) -> Position | None:
    if rejection is None or rejection.revision is None or rejection.epoch is None:
        return None
    return Position(rejection.epoch, rejection.revision)


def _dotted(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return _sorted(".".join(path) for path in paths if path)


def _sorted(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(paths)))
