"""Answers to reads: current configs from the snapshot, past ones from the history."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from fastapi import Request, Response

from central_hub.api.auth import authorise
from central_hub.api.conditions import is_unchanged
from central_hub.api.encoding import encode
from central_hub.api.v1.queries import ReadQuery
from central_hub.audit.chain import rfc3339
from central_hub.config.history import no_document
from central_hub.config.layering import layers_of, provenance
from central_hub.config.snapshot import Representation
from central_hub.errors import InvalidRequest, NotFound, ReplicaBehind
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService
from central_hub.storage.config_values import Action, Document, LogEntry, LoggedChange
from central_hub_client.wire import HUB_MIN_REVISION, HUB_REVISION, HUB_STALE, Position

WAIT_FOR_REVISION_SECONDS: Final = 2.0


async def read_config(
    hub: CentralHubService, request: Request, grant: Grant, service: str, query: ReadQuery
) -> Response:
    """The config of a service: current or past, effective or own, explained or not."""
    authorise(grant, service, query.environment)
    applied = await reach_minimum(hub, request)
    if query.at is not None:
        past = await hub.history.config_at(service, query.environment, query.at, own=query.own)
        headers = read_headers(hub, applied, past.representation.etag)
        if query.after is not None and past.representation.object.position <= parse_position(hub, query.after):
            return Response(status_code=304, headers=headers)
        return _config(request, past.representation, headers, await _explained(hub, past.layers, query))
    if query.after is not None:
        after = parse_position(hub, query.after)
        if not await _newer(hub, service, query, after, grant):
            etag = _current(hub, service, query).etag
            return Response(status_code=304, headers=read_headers(hub, hub.tail.snapshot.position, etag))
    found = _current(hub, service, query)
    snapshot = hub.tail.snapshot
    headers = read_headers(hub, snapshot.position, found.etag)
    if query.own:
        document = snapshot.document(service, query.environment)
        layers = [] if document is None else [document]
    else:
        layers = layers_of(snapshot.document, service, query.environment)
    return _config(request, found, headers, await _explained(hub, layers, query))


async def reach_minimum(hub: CentralHubService, request: Request) -> Position:
    """Keep to X-Hub-Min-Revision: wait for that revision, never answer with older data. Raises ReplicaBehind.

    Returns how far the replica has got: what is read from now on is of that position or later.
    """
    text = request.headers.get(HUB_MIN_REVISION)
    if text is not None:
        await reach(hub, parse_position(hub, text))
    return hub.tail.snapshot.position


async def reach(hub: CentralHubService, position: Position) -> None:
    """Wait until this replica is at `position`. Raises ReplicaBehind after two seconds."""
    if not await hub.tail.reached(position, timeout_seconds=WAIT_FOR_REVISION_SECONDS):
        raise ReplicaBehind(f"this replica is at {hub.tail.snapshot.position}, not yet at {position}: try again")


def parse_position(hub: CentralHubService, text: str) -> Position:
    """The position that a caller names; without an epoch, in the current one. Raises InvalidRequest."""
    try:
        return Position.parse(text, current_epoch=hub.tail.snapshot.epoch)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def answer_json(hub: CentralHubService, applied: Position, value: Any) -> Response:
    """A JSON answer of a read that began at `applied`."""
    return Response(encode(value), media_type="application/json", headers=read_headers(hub, applied))


def history_entry(entry: LogEntry, *, with_config: bool) -> dict[str, Any]:
    """An entry of a history as it is sent. A redacted one says so instead of its content."""
    shown: dict[str, Any] = {
        "epoch": entry.epoch,
        "revision": entry.revision,
        "version": entry.version,
        "action": entry.action,
        "changed_by": entry.changed_by,
        "changed_at": rfc3339(entry.changed_at),
        "reason": entry.reason,
        "changes": entry.changes or [],
    }
    if with_config:
        shown["schema" if entry.action == Action.SCHEMA else "config"] = entry.config
    if entry.redacted:
        shown["redacted"] = True
    return shown


async def _newer(hub: CentralHubService, service: str, query: ReadQuery, after: Position, grant: Grant) -> bool:
    """Whether there is something newer than `after`, waiting for it as long as the caller will."""
    deadline = time.monotonic() + query.wait
    with hub.tail.feed.waiters.waiting_for(frozenset({service})) as wake:
        while True:
            wake.clear()
            if _current(hub, service, query).object.position > after:
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0 or hub.draining.is_set() or not hub.tokens.grants.still_valid(grant, datetime.now(UTC)):
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), remaining)


async def _explained(
    hub: CentralHubService, layers: list[Document], query: ReadQuery
) -> dict[str, dict[str, Any]] | None:
    if not (query.explain or query.blame):
        return None
    # Tens of thousands of leaves take a while: in a thread, so that nobody else waits for them.
    explained = await asyncio.to_thread(provenance, layers)
    if query.blame:
        found = await hub.history.set_by(explained)
        for pointer, source in explained.items():
            source["set_by"] = _set_by(found.get(pointer))
    return explained


def _set_by(change: LoggedChange | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {
        "epoch": change.epoch,
        "revision": change.revision,
        "changed_by": change.changed_by,
        "changed_at": rfc3339(change.changed_at),
        "reason": change.reason,
    }


def _current(hub: CentralHubService, service: str, query: ReadQuery) -> Representation:
    snapshot = hub.tail.snapshot
    found = snapshot.own(service, query.environment) if query.own else snapshot.find(service, query.environment)
    if found is None:
        raise no_document(service, query.environment)
    if found.object.deleted:
        raise NotFound(f"the configuration of {service} in environment {query.environment} was deleted")
    return found


def _config(
    request: Request,
    found: Representation,
    headers: dict[str, str],
    explained: dict[str, dict[str, Any]] | None,
) -> Response:
    if is_unchanged(request.headers.get("if-none-match"), found.etag):
        return Response(status_code=304, headers=headers)
    body = found.body if explained is None else orjson.dumps(found.object.to_json() | {"provenance": explained})
    return Response(body, media_type="application/json", headers=headers)


def read_headers(hub: CentralHubService, applied: Position, etag: str | None = None) -> dict[str, str]:
    """The headers of a read that was made at `applied`: by now the replica may be further, and the answer is not."""
    headers = {HUB_REVISION: str(applied), "Cache-Control": "no-cache"}
    if etag is not None:
        headers["ETag"] = etag
    if hub.tail.is_stale:
        headers[HUB_STALE] = "true"
    return headers
