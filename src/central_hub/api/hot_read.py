"""The read that services make all day, answered in front of everything else.

`GET /api/v1/config/{service}` with at most an environment, a valid token and perhaps an ETag: the bytes are prepared,
the decision is two look-ups. Whatever is in any way unusual goes on to the full stack, which has the same route with
every option; a test holds the two against each other.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from central_hub.api.conditions import is_unchanged
from central_hub.api.host_check import AllowedHosts
from central_hub.api.security_headers import HEADERS
from central_hub.config.snapshot import Snapshot
from central_hub.security.tokens import Grants, Verb
from central_hub.service import CentralHubService
from central_hub_client.wire import API_PREFIX, DEFAULT_ENVIRONMENT, HUB_REVISION

_PREFIX: Final = f"{API_PREFIX}/config/".encode()
_ENVIRONMENT_QUERY: Final = b"environment="
ROUTE: Final = "/config/{service}"


@dataclass(frozen=True, slots=True)
class _Prepared:
    service: str
    environment: str
    body: bytes
    etag: str
    headers: list[tuple[bytes, bytes]]
    headers_unchanged: list[tuple[bytes, bytes]]


class HotRead:
    """ASGI callable in front of the application."""

    def __init__(self, app: ASGIApp, hub: CentralHubService, hosts: AllowedHosts) -> None:
        self._app = app
        self._hub = hub
        self._hosts = hosts
        self._snapshot: Snapshot | None = None
        self._prepared: dict[tuple[bytes, bytes], _Prepared | None] = {}
        self._grants: Grants | None = None
        self._decisions: dict[tuple[str, str, str], bool] = {}
        self._answered = hub.metrics.requests.labels(ROUTE, "GET", "200")
        self._unchanged = hub.metrics.requests.labels(ROUTE, "GET", "304")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["raw_path"].startswith(_PREFIX):
            prepared = self._find(scope["raw_path"], scope["query_string"])
            if prepared is not None:
                found = self._allowed_tag(scope["headers"], prepared)
                if found is not None:
                    await self._answer(send, prepared, found)
                    return
        await self._app(scope, receive, send)

    async def _answer(self, send: Send, prepared: _Prepared, if_none_match: bytes) -> None:
        if if_none_match and is_unchanged(if_none_match.decode("latin-1"), prepared.etag):
            self._unchanged.inc()
            await send({"type": "http.response.start", "status": 304, "headers": prepared.headers_unchanged})
            await send({"type": "http.response.body", "body": b""})
        else:
            self._answered.inc()
            await send({"type": "http.response.start", "status": 200, "headers": prepared.headers})
            await send({"type": "http.response.body", "body": prepared.body})

    def _allowed_tag(self, headers: list[tuple[bytes, bytes]], prepared: _Prepared) -> bytes | None:
        """The If-None-Match header (empty without one) of a request that may be answered here; None for any other."""
        authorization = host = if_none_match = b""
        for name, value in headers:
            if name == b"authorization":
                if authorization:
                    return None
                authorization = value
            elif name == b"host":
                if host:
                    return None
                host = value
            elif name == b"if-none-match":
                if if_none_match:
                    return None
                if_none_match = value
            elif name in (b"x-hub-min-revision", b"x-request-id"):
                return None
        if not authorization.startswith(b"Bearer ") or host not in self._hosts:
            return None
        grants = self._hub.tokens.grants
        if grants is not self._grants:
            self._grants = grants
            self._decisions.clear()
        grant = grants.find_hash(hashlib.sha256(authorization[7:]).digest(), datetime.now(UTC))
        if grant is None:
            return None
        key = (grant.token_id, prepared.service, prepared.environment)
        allowed = self._decisions.get(key)
        if allowed is None:
            allowed = grant.may(Verb.READ) and grant.covers(prepared.service, prepared.environment)
            self._decisions[key] = allowed
        return if_none_match if allowed else None

    def _find(self, raw_path: bytes, query: bytes) -> _Prepared | None:
        tail = self._hub.tail
        if not tail.is_loaded or tail.is_stale:
            return None
        snapshot = tail.snapshot
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._prepared.clear()
        key = (raw_path, query)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = _prepare(snapshot, raw_path, query)
            if prepared is not None:
                self._prepared[key] = prepared
        return prepared


def _prepare(snapshot: Snapshot, raw_path: bytes, query: bytes) -> _Prepared | None:
    # Only names that are keys of the snapshot get further: what is kept is bounded by what is stored.
    service = raw_path[len(_PREFIX) :].decode("latin-1")
    if not query:
        environment = DEFAULT_ENVIRONMENT
    elif query.startswith(_ENVIRONMENT_QUERY):
        environment = query[len(_ENVIRONMENT_QUERY) :].decode("latin-1")
    else:
        return None
    found = snapshot.representations.get((service, environment))
    if found is None or found.object.deleted:
        return None
    common = [
        (b"etag", found.etag.encode()),
        (HUB_REVISION.lower().encode(), str(snapshot.position).encode()),
        (b"cache-control", b"no-cache"),
        *HEADERS,
    ]
    described = [(b"content-type", b"application/json"), (b"content-length", str(len(found.body)).encode())]
    return _Prepared(service, environment, found.body, found.etag, [*described, *common], common)
