"""Config objects as a hub would send them."""

from typing import Any

from central_hub_client.wire import Bookmark, ConfigObject, content_hash

SERVICE = "pilot"
HUB = "hub-one"


def config_object(revision: int, config: dict[str, Any] | None = None, **changes: Any) -> ConfigObject:
    """The object of `revision`; `config` defaults to one that names it. `changes` break the rules on purpose."""
    config = {"revision": revision} if config is None and not changes.get("deleted") else config
    values: dict[str, Any] = {
        "service": SERVICE,
        "environment": "default",
        "config": config,
        "version": "1.0.0",
        "hub_id": HUB,
        "epoch": 1,
        "revision": revision,
        "previous_revision": revision - 1,
        "hash": content_hash(config),
        "requires": (),
        "updated_at": "2026-11-23T14:00:00.000Z",
        "updated_by": "alice",
    }
    return ConfigObject(**(values | changes))


def bookmark(revision: int, *, epoch: int = 1, hub_id: str = HUB) -> Bookmark:
    return Bookmark(hub_id, epoch, revision, "")
