"""What an instance says about the configuration it runs on: to the hub, and to whoever looks for a dead key. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from central_hub_client import layers, report
from central_hub_client.assembly import HUB, Layer, Rejection, Snapshot
from central_hub_client.binding import Binding
from central_hub_client.layers import leaves
from central_hub_client.report import InstanceReport
from central_hub_client.sources import HUB_PRIORITY, SAFE_DEFAULTS_PRIORITY
from central_hub_client.strict_json import escape_pointer
from central_hub_client.wire import Position, content_hash

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What is used of a configuration, and what is not. Paths are dotted, sorted, and name leaves.

    `unknown`: the model does not declare them, so they were dropped. `shadowed`: the hub sets them, a local layer
    above it hides that. `defaulted`: no layer sets them, the model's default counts. `unread`: the hub sets them, and
    nobody ever read them (of a model: no field takes them). `local_keys`: set by this instance's own files, sources
    and environment, so that the hub need not set them. The hub's keys are all of its effective configuration, those
    that only `_global` sets included, which the hub itself leaves out of `unknown` and `unread` in its status.

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


@dataclass(frozen=True, slots=True)
class Standing:
    """How an instance stands to its configuration, with keys as paths: only those survive a key that has a dot in it.

    `unknown` is of all layers, `unknown_to_model` of the hub's alone. `offered` is the position of what the hub offers.
    """

    unknown: frozenset[Path] = frozenset()
    unknown_to_model: frozenset[Path] = frozenset()
    shadowed: frozenset[Path] = frozenset()
    defaulted: frozenset[Path] = frozenset()
    unread: frozenset[Path] = frozenset()
    local_keys: frozenset[Path] = frozenset()
    applied: Position | None = None
    offered: Position | None = None
    refused: Rejection | None = None
    reason: str | None = None
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    schema_hash: str | None = None

    def to_report(self) -> Report:
        """For people."""
        return Report(
            unknown=_dotted(self.unknown),
            shadowed=_dotted(self.shadowed),
            defaulted=_dotted(self.defaulted),
            unread=_dotted(self.unread),
            local_keys=_dotted(self.local_keys),
            applied=self.applied,
            rejected=_position(self.refused),
            reason=self.reason,
            schema=self.schema,
            schema_hash=self.schema_hash,
        )

    def to_instance_report(self) -> InstanceReport:
        """For the hub."""
        rejected = _position(self.refused)
        if rejected is None and self.applied is None and self.reason is not None:
            rejected = self.offered  # nothing is refused, but it is not enough to run on
        return InstanceReport(
            applied=self.applied,
            rejected=None if rejected is None else report.Rejection(rejected, self.reason or ""),
            unknown=_pointers(self.unknown_to_model),
            shadowed=_pointers(self.shadowed),
            defaulted=_pointers(self.defaulted),
            unread=_pointers(self.unread),
            local_keys=_pointers(self.local_keys),
            schema=self.schema,
            schema_hash=self.schema_hash,
        )


def standing(
    snapshot: Snapshot[Any] | None,
    binding: Binding[Any],
    rejections: Mapping[str, Rejection],
    *,
    offered: Position | None = None,
    incomplete: str | None = None,
) -> Standing:
    """What follows from the configuration in use, and from what is offered and not used."""
    schema = binding.json_schema
    refused = rejections.get(HUB)
    # The hub's own first: it is the one that the hub can do something about.
    first = refused or next(iter(rejections.values()), None)
    found = Standing(
        offered=offered,
        refused=refused,
        reason=first.reason if first is not None else incomplete,
        schema=schema,
        schema_hash=None if schema is None else content_hash(schema),
    )
    return found if snapshot is None else _with_keys(found, snapshot, binding)


def _with_keys(found: Standing, snapshot: Snapshot[Any], binding: Binding[Any]) -> Standing:
    hub = snapshot.layer(HUB)
    hub_keys = frozenset() if hub is None else _paths(hub)
    local = [layer for layer in snapshot.layers if layer is not hub and layer.priority > SAFE_DEFAULTS_PRIORITY]
    set_above = _paths(*(layer for layer in local if layer.priority > HUB_PRIORITY))
    set_somewhere = _paths(*snapshot.layers)
    unknown_to_model = frozenset() if hub is None else frozenset(hub.unknown)
    reads = binding.reads
    return replace(
        found,
        unknown=frozenset(path for layer in snapshot.layers for path in layer.unknown),
        unknown_to_model=unknown_to_model,
        shadowed=frozenset(path for path in hub_keys if _is_set(path, set_above)),
        defaulted=frozenset(
            path for path, _ in leaves(binding.tree(snapshot.value)) if path and not _is_set(path, set_somewhere)
        ),
        unread=unknown_to_model if reads is None else hub_keys - reads,
        local_keys=_paths(*local),
        applied=snapshot.position,
    )


def _paths(*some: Layer) -> frozenset[Path]:
    """The paths of the leaves that layers set together."""
    return frozenset(path for path, _ in leaves(layers.merge([layer.values for layer in some])) if path)


def _is_set(path: Path, found: frozenset[Path]) -> bool:
    return any(path[:length] in found for length in range(1, len(path) + 1))


def _position(rejection: Rejection | None) -> Position | None:
    if rejection is None or rejection.revision is None or rejection.epoch is None:
        return None
    return Position(rejection.epoch, rejection.revision)


def _dotted(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(sorted({".".join(path) for path in paths}))


def _pointers(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(sorted("".join(f"/{escape_pointer(key)}" for key in path) for path in paths))
