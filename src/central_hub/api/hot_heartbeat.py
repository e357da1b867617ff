"""The heartbeat that every instance sends all day, taken in front of everything else.

One from an instance that is recognised at once, by a token that covers it, needs no more than this. Whatever is in any
way unusual goes on to the full stack with its body, which has the same route and says what is wrong; a test holds the
two against each other.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from central_hub.api.host_check import AllowedHosts
from central_hub.api.security_headers import HEADERS
from central_hub.api.v1.fleet import renewal
from central_hub.api.v1.instance_bodies import Heartbeat
from central_hub.coordination.manager import Claim
from central_hub.errors import HubError
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.instance_values import Instance, Report, Stance
from central_hub_client import strict_json
from central_hub_client.wire import API_PREFIX, HealthState

ROUTE: Final = "/discovery/heartbeat"
_PATH: Final = f"{API_PREFIX}{ROUTE}".encode()
_BEARER: Final = b"Bearer "
_SPECIAL: Final = frozenset({b"x-request-id", b"content-encoding", b"transfer-encoding"})
_MAX_LENGTH_DIGITS: Final = 5
"""A body below 100 KB: larger ones are none of those that are sent all day."""
_MAX_REMEMBERED: Final = 20_000
_MAX_REMEMBERED_BYTES: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Told:
    """What a heartbeat says."""

    claim: Claim
    state: HealthState | None
    stance: Stance | None
    report: Report | None

    @classmethod
    def read(cls, body: bytes) -> "_Told":
        """Raises ValueError."""
        told = Heartbeat.model_validate(strict_json.parse(body, bounded_integers=False))
        return cls(told.claim, told.reported_state, told.stance, told.key_report)


class HotHeartbeat:
    """ASGI callable in front of the application."""

    def __init__(self, app: ASGIApp, hub: CentralHubService, hosts: AllowedHosts) -> None:
        self._app = app
        self._tokens = hub.tokens
        self._coordination = hub.coordination
        self._hosts = hosts
        self._read: dict[bytes, _Told] = {}
        self._taken = 0
        self._requests = hub.metrics.requests
        hub.metrics.before_exposition(self._count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        grant = self._admitted(scope)
        if grant is None:
            await self._app(scope, receive, send)
            return
        first = await receive()
        instance = self._take(grant, first)
        if instance is None:
            await self._app(scope, _again(first, receive), send)
            return
        self._taken += 1
        body = orjson.dumps(renewal(instance))
        described = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": [*described, *HEADERS]})
        await send({"type": "http.response.body", "body": body})

    def _admitted(self, scope: Scope) -> Grant | None:
        """The grant of a request that may be answered here, as far as its headers say."""
        if scope["type"] != "http" or scope["raw_path"] != _PATH or scope["method"] != "POST" or scope["query_string"]:
            return None
        headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or not _SPECIAL.isdisjoint(headers):
            return None
        if headers.get(b"content-type") != b"application/json" or headers.get(b"host", b"") not in self._hosts:
            return None
        length, authorization = headers.get(b"content-length", b""), headers.get(b"authorization", b"")
        if not 0 < len(length) <= _MAX_LENGTH_DIGITS or not authorization.startswith(_BEARER):
            return None
        digest = hashlib.sha256(authorization[len(_BEARER) :]).digest()
        grant = self._tokens.grants.find_hash(digest, datetime.now(UTC))
        return grant if grant is not None and grant.may(Verb.REGISTER) else None

    def _take(self, grant: Grant, message: Message) -> Instance | None:
        """Take the heartbeat, if the message holds it whole and it is in order; whose it is."""
        if message["type"] != "http.request" or message.get("more_body", False):
            return None
        try:
            told = self._understand(message["body"])
            instance = self._coordination.recognise(told.claim, grant.covers)
        except (ValueError, HubError):
            return None  # the full stack says why
        self._coordination.beat(instance, told.state, told.stance, told.report)
        return instance

    def _understand(self, body: bytes) -> _Told:
        """What the body says. Raises ValueError. While nothing happens, an instance sends the same one every time."""
        if len(body) > _MAX_REMEMBERED_BYTES:
            return _Told.read(body)
        digest = hashlib.blake2b(body).digest()  # the body has the secret, which is not kept
        told = self._read.get(digest)
        if told is None:
            told = _Told.read(body)
            if len(self._read) >= _MAX_REMEMBERED:
                self._read.clear()
            self._read[digest] = told
        return told

    def _count(self) -> None:
        self._requests.labels(ROUTE, "POST", "200").inc(self._taken)
        self._taken = 0


def _again(first: Message, receive: Receive) -> Receive:
    """What is received, from the message on that was taken already."""
    waiting = [first]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
