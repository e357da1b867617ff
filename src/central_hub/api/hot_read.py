"""The read that services make all day, answered in front of everything else.

`GET /api/v1/config/{service}` with at most an environment, a valid token and perhaps an ETag: the bytes are prepared,
the decision is two look-ups. Whatever is in any way unusual goes on to the full stack, which has the same route with
every option; a test holds the two against each other.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from central_hub.api.conditions import is_unchanged
from central_hub.api.host_check import AllowedHosts
from central_hub.api.security_headers import HEADERS
from central_hub.config.snapshot import Snapshot
from central_hub.security.tokens import Grants, Verb
from central_hub.service import CentralHubService
from central_hub_client.wire import API_PREFIX, DEFAULT_ENVIRONMENT, HUB_REVISION

_PREFIX: Final = f"{API_PREFIX}/config/".encode()
_BEARER: Final = b"Bearer "
_ENVIRONMENT_QUERY: Final = b"environment="
_NO_BODY: Final = {"type": "http.response.body", "body": b""}
_SPECIAL: Final = frozenset({b"x-hub-min-revision", b"x-request-id"})
ROUTE: Final = "/config/{service}"


@dataclass(frozen=True, slots=True)
class _Permitted:
    """A config that a token may read, with the ASGI messages of its two answers."""

    etag: str
    start: Message
    body: Message
    start_unchanged: Message
    expires_at: datetime | None


class HotRead:
    """ASGI callable in front of the application."""

    def __init__(self, app: ASGIApp, hub: CentralHubService, hosts: AllowedHosts) -> None:
        self._app = app
        self._tail = hub.tail
        self._tokens = hub.tokens
        self._hosts = hosts
        self._snapshot: Snapshot | None = None
        self._grants: Grants | None = None
        self._permitted: dict[tuple[bytes, bytes, bytes], _Permitted] = {}
        self._answered = 0
        self._unchanged = 0
        self._requests = hub.metrics.requests
        hub.metrics.before_exposition(self._count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["raw_path"].startswith(_PREFIX):
            headers = dict(scope["headers"])
            found = self._find(scope, headers)
            if found is not None:
                tag = headers.get(b"if-none-match")
                if tag is not None and is_unchanged(tag.decode("latin-1"), found.etag):
                    self._unchanged += 1
                    await send(found.start_unchanged)
                    await send(_NO_BODY)
                else:
                    self._answered += 1
                    await send(found.start)
                    await send(found.body)
                return
        await self._app(scope, receive, send)

    def _find(self, scope: Scope, headers: dict[bytes, bytes]) -> _Permitted | None:
        """What is asked for, where the request may be answered here."""
        tail, grants = self._tail, self._tokens.grants
        if not tail.is_loaded or tail.is_stale:
            return None
        if len(headers) != len(scope["headers"]) or not _SPECIAL.isdisjoint(headers):
            return None
        if headers.get(b"host", b"") not in self._hosts:
            return None
        if tail.snapshot is not self._snapshot or grants is not self._grants:
            self._snapshot, self._grants = tail.snapshot, grants
            self._permitted.clear()
        authorization, raw_path, query = headers.get(b"authorization", b""), scope["raw_path"], scope["query_string"]
        # A hash, so that no token is kept; this one, because it takes a third of the time of SHA-256.
        key = (hashlib.blake2b(authorization).digest(), raw_path, query)
        found = self._permitted.get(key)
        if found is None:
            found = _permit(tail.snapshot, grants, authorization, raw_path, query)
            if found is None:
                return None
            self._permitted[key] = found
        if found.expires_at is not None and found.expires_at <= datetime.now(UTC):
            return None
        return found

    def _count(self) -> None:
        # The counters take a lock: as much time as the look-up, if it were taken for every answer.
        self._requests.labels(ROUTE, "GET", "200").inc(self._answered)
        self._requests.labels(ROUTE, "GET", "304").inc(self._unchanged)
        self._answered = self._unchanged = 0


def _permit(
    snapshot: Snapshot, grants: Grants, authorization: bytes, raw_path: bytes, query: bytes
) -> _Permitted | None:
    # Only valid tokens and names that are keys of the snapshot get further: what is kept is bounded by what is stored.
    if not authorization.startswith(_BEARER):
        return None
    service = raw_path[len(_PREFIX) :].decode("latin-1")
    if not query:
        environment = DEFAULT_ENVIRONMENT
    elif query.startswith(_ENVIRONMENT_QUERY):
        environment = query[len(_ENVIRONMENT_QUERY) :].decode("latin-1")
    else:
        return None
    found = snapshot.representations.get((service, environment))
    grant = grants.find_hash(hashlib.sha256(authorization[len(_BEARER) :]).digest(), datetime.now(UTC))
    if found is None or found.object.deleted or grant is None:
        return None
    if not (grant.may(Verb.READ) and grant.covers(service, environment)):
        return None
    common = [
        (b"etag", found.etag.encode()),
        (HUB_REVISION.lower().encode(), str(snapshot.position).encode()),
        (b"cache-control", b"no-cache"),
        *HEADERS,
    ]
    described = [(b"content-type", b"application/json"), (b"content-length", str(len(found.body)).encode())]
    return _Permitted(
        etag=found.etag,
        start={"type": "http.response.start", "status": 200, "headers": [*described, *common]},
        body={"type": "http.response.body", "body": found.body},
        start_unchanged={"type": "http.response.start", "status": 304, "headers": common},
        expires_at=grant.expires_at,
    )
