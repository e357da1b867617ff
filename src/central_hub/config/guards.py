"""What a write must not do by accident. Pure; each guard raises the error that says how to allow it."""

from typing import Any, Final

from central_hub.config.diff import removed_keys
from central_hub.config.secrets import find_credentials
from central_hub.errors import Finding, LimitExceeded, RemovalsNotAllowed, SecretRejected
from central_hub_client import strict_json

Config = dict[str, Any]
_MAX_LISTED: Final = 100


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
