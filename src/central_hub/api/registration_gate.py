"""Registrations take turns, in front of all that costs something: what a whole fleet sends at once must not keep
heartbeats and reads waiting.

Only who may register can be turned away: everybody else is told that he may not, and takes nobody's turn.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from central_hub.api.auth import token_of
from central_hub.api.legacy import OLD_PREFIX
from central_hub.api.problems import send_problem
from central_hub.coordination.admission import Admission
from central_hub.errors import TooManyRegistrations
from central_hub.metrics import Metrics
from central_hub.security.registry import TokenRegistry
from central_hub.security.tokens import Verb
from central_hub_client.wire import API_PREFIX

ROUTE: Final = "/discovery/register"
AT_ONCE: Final = 8
"""Half of the database's connections; more at once are no faster."""
LONGEST_WAIT_SECONDS: Final = 5.0
"""A caller must not have given up by the time it is registered: it would have come again, and be fenced by itself."""
_PATHS: Final = frozenset({f"{API_PREFIX}{ROUTE}".encode(), f"{OLD_PREFIX}{ROUTE[1:]}".encode()})
_LOG_EVERY_SECONDS: Final = 10.0

log = structlog.get_logger()


class RegistrationGate:
    """ASGI middleware: a few registrations at once, a bounded number that waits, and 429 for everybody else."""

    def __init__(self, app: ASGIApp, tokens: TokenRegistry, metrics: Metrics) -> None:
        self._app = app
        self._tokens = tokens
        self._admission = Admission()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._refused = metrics.requests.labels(ROUTE, "POST", "429")
        self._log_after = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not (_is_registration(scope) and self._may_register(scope)):
            await self._app(scope, receive, send)
            return
        try:
            self._admission.enter(time.monotonic())
        except TooManyRegistrations as error:
            await self._refuse(send, error)
            return
        try:
            if await self._has_turn():
                try:
                    await self._app(scope, receive, send)
                finally:
                    self._turns.release()
            else:
                await self._refuse(send, self._admission.refusal(time.monotonic()))
        finally:
            self._admission.leave()

    def _may_register(self, scope: Scope) -> bool:
        token = token_of(scope)
        grant = None if token is None else self._tokens.grants.find(token, datetime.now(UTC))
        return grant is not None and grant.may(Verb.REGISTER)

    async def _has_turn(self) -> bool:
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                return await self._turns.acquire()
        except TimeoutError:
            return False

    async def _refuse(self, send: Send, error: TooManyRegistrations) -> None:
        self._refused.inc()
        now = time.monotonic()
        if now >= self._log_after:
            self._log_after = now + _LOG_EVERY_SECONDS
            log.warning("registrations_turned_away", retry_after_seconds=error.headers["Retry-After"])
        await send_problem(send, error)


def _is_registration(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and scope["raw_path"] in _PATHS
