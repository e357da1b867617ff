"""What an instance tells the hub about how it is and what it runs. Made by who applies it, sent by `Registration`.

Keys are JSON Pointers (RFC 6901) into the effective configuration, as in the hub's change lists.
A report holds names of keys and never a value; `reason` is a sentence without the offending value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from central_hub_client.wire import HealthState, Position

MAX_KEYS: Final = 1_000
MAX_KEY_CHARACTERS: Final = 500
MAX_REASON_CHARACTERS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """A configuration that this instance refused, and why."""

    position: Position
    reason: str


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """How one instance is, and how it stands to its configuration.

    `applied` is the position of the configuration in use; `rejected` the newest one that was refused, None once a later
    one is applied. `unknown`: sent by the hub, declared by no model. `shadowed`: sent by the hub, and overridden by a
    local layer. `defaulted`: declared, sent by nobody, so the model's default counts. `unread`: sent, and never read so
    far. `local_keys`: supplied by this instance's own environment. `schema` is the JSON Schema of the settings model,
    `schema_hash` its `wire.content_hash`; both None where there is no model.
    """

    applied: Position | None = None
    rejected: Rejection | None = None
    unknown: Sequence[str] = ()
    shadowed: Sequence[str] = ()
    defaulted: Sequence[str] = ()
    unread: Sequence[str] = ()
    local_keys: Sequence[str] = ()
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    schema_hash: str | None = None
    state: HealthState = HealthState.HEALTHY

    def stance(self) -> dict[str, Any]:
        """The fields of a heartbeat that say which revision is in use."""
        told: dict[str, Any] = {}
        if self.applied is not None:
            told["applied"] = {"epoch": self.applied.epoch, "revision": self.applied.revision}
        if self.rejected is not None:
            position = self.rejected.position
            told["rejected"] = {
                "epoch": position.epoch,
                "revision": position.revision,
                "reason": self.rejected.reason[:MAX_REASON_CHARACTERS],
            }
        return told

    def keys(self) -> dict[str, list[str]]:
        """The `report` of a heartbeat, within the hub's limits: the first keys of each kind, in order."""
        return {
            "unknown": _within_limits(self.unknown),
            "shadowed": _within_limits(self.shadowed),
            "defaulted": _within_limits(self.defaulted),
            "unread": _within_limits(self.unread),
            "local_keys": _within_limits(self.local_keys),
        }


def _within_limits(keys: Sequence[str]) -> list[str]:
    return sorted({key for key in keys if len(key) <= MAX_KEY_CHARACTERS})[:MAX_KEYS]
