"""What a write must not do by accident. Pure; each guard raises the error that says how to allow it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from central_hub.config.diff import removed_keys
from central_hub.config.secrets import find_credentials
from central_hub.errors import DeltaNotAllowed, Finding, LimitExceeded, RemovalsNotAllowed, SecretRejected, TypeReuse
from central_hub_client import strict_json

Config = dict[str, Any]
_MAX_LISTED: Final = 100
_SOME_BYTES: Final = 2 * 1024
_SOME_KEYS: Final = 20


def check_limits(config: Config) -> None:
    """Raise LimitExceeded for a document that is too deep or too large."""
    try:
        strict_json.check_limits(config)
    except strict_json.LimitExceeded as error:
        raise LimitExceeded(
            f"the document has {error}", errors=[Finding(error.pointer, "limit_exceeded", str(error))]
        ) from error


def check_labels(*labels: str | None) -> None:
    """Raise SecretRejected for a credential in what accompanies a document: a reason is kept for ever."""
    found = [credential for label in labels if label is not None for credential in find_credentials([label])]
    if found:
        raise SecretRejected(f"the reason or version contains a credential ({found[0].kind}); nothing was kept")


def check_removals(current: Config, proposed: Config, *, allowed: bool) -> None:
    """Raise RemovalsNotAllowed for an update that drops keys nobody agreed to drop."""
    if allowed:
        return
    removed = removed_keys(current, proposed)
    if removed:
        raise RemovalsNotAllowed(
            f"the update would remove {len(removed)} key{'s' if len(removed) > 1 else ''}; send them along, use"
            ' mode "merge", or say so with allow: ["removals"]',
            errors=[Finding(pointer, "removed", "would be removed") for pointer in removed[:_MAX_LISTED]],
            extra={"removals": removed[:_MAX_LISTED]},
        )


@dataclass(frozen=True, slots=True)
class Size:
    """How large a document is: bytes of its canonical spelling, keys of all its objects, objects within objects."""

    bytes: int
    keys: int
    depth: int


def size_of(config: Config) -> Size:
    """The size of a document."""
    keys = depth = 0
    waiting: list[tuple[Any, int]] = [(config, 1)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, dict):
            keys += len(value)
            depth = max(depth, level)
            waiting += [(item, level + 1) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, level + 1) for item in value]
    return Size(len(strict_json.canonical(config)), keys, depth)


def check_delta(current: Config, proposed: Config, *, allowed: bool) -> None:
    """Raise DeltaNotAllowed for a document of some size that is emptied, or more than halved or doubled."""
    if allowed:
        return
    before = size_of(current)
    if before.bytes < _SOME_BYTES and before.keys < _SOME_KEYS:
        return
    after = size_of(proposed)
    if (
        proposed
        and before.bytes <= 2 * after.bytes <= 4 * before.bytes
        and before.keys <= 2 * after.keys <= 4 * before.keys
    ):
        return
    raise DeltaNotAllowed(
        f"the update would take the document from {before.bytes} to {after.bytes} bytes and from {before.keys} to"
        f' {after.keys} keys; if that is meant, say so with allow: ["delta"]',
        extra={
            "size": {
                "bytes": {"before": before.bytes, "after": after.bytes},
                "keys": {"before": before.keys, "after": after.keys},
            }
        },
    )


def check_type_reuse(reused: Mapping[str, tuple[str, str]]) -> None:
    """Raise TypeReuse for keys that were deleted, and come back with another type: old readers may still be there."""
    if not reused:
        return
    listed = list(reused.items())[:_MAX_LISTED]
    raise TypeReuse(
        f"{listed[0][0]} was deleted as {listed[0][1][0]} and would come back as {listed[0][1][1]}; take another name,"
        ' or say that it is meant with allow: ["type_reuse"]',
        errors=[
            Finding(pointer, "type_reuse", f"was {old} before, and would be {new}") for pointer, (old, new) in listed
        ],
    )
