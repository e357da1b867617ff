"""The history of all documents that a token covers, searched."""

from collections.abc import Callable
from typing import Any

from fastapi import Request, Response

from central_hub.api.auth import authorise, check_environment
from central_hub.api.v1.queries import SearchQuery
from central_hub.api.v1.reading import answer_json, history_entry, reach_minimum
from central_hub.config.history import moment
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService
from central_hub.storage.config_values import LogEntry, LogFilter
from central_hub_client.wire import DEFAULT_ENVIRONMENT


async def answer_search(hub: CentralHubService, request: Request, grant: Grant, query: SearchQuery) -> Response:
    """The changes that are looked for, newest first."""
    if query.service is not None:
        authorise(grant, query.service, query.environment or DEFAULT_ENVIRONMENT)
    elif query.environment is not None:
        check_environment(query.environment)
    applied = await reach_minimum(hub, request)
    wanted = LogFilter(
        changed_by=query.by,
        text=query.text,
        since=None if query.since is None else moment(query.since),
        until=None if query.until is None else moment(query.until),
    )
    entries, following = await hub.history.search(
        wanted, _is_wanted(grant, query), before=query.before, limit=query.limit
    )
    found = [
        {"service": entry.service, "environment": entry.environment, **history_entry(entry, with_config=False)}
        for entry in entries
    ]
    return answer_json(hub, applied, {"history": found, "next": following})


def _is_wanted(grant: Grant, query: SearchQuery) -> Callable[[LogEntry], bool]:
    def is_wanted(entry: LogEntry) -> bool:
        return (
            grant.covers(entry.service, entry.environment)
            and query.service in (None, entry.service)
            and query.environment in (None, entry.environment)
            and (query.path is None or _touches(entry, query.path))
        )

    return is_wanted


def _touches(entry: LogEntry, path: str) -> bool:
    return any(_is_about(change, path) for change in entry.changes or ())


def _is_about(change: dict[str, Any], path: str) -> bool:
    """Whether a change was made at a place, inside it, or around it with something at the place before or after."""
    place: str = change["path"]
    if place == path or place.startswith(f"{path}/"):
        return True
    inside = path.removeprefix(place)
    return inside != path and inside.startswith("/") and any(_has(change.get(side), inside) for side in ("old", "new"))


def _has(value: Any, inside: str) -> bool:
    for token in inside.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
