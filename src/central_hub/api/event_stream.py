"""Server-sent events: what is new, again and again, until the client leaves, the token is revoked or the hub drains.

A stream holds no queue. It wakes, looks, and sends what is newer than what it sent last: a slow reader skips what came
in between, and never makes the hub remember anything for it.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService
from central_hub.waiters import Waiters

BOOKMARK_SECONDS: Final = 1.5
"""Below the two seconds that are promised, so that a busy loop keeps the promise."""
BOOKMARK_JITTER: Final = 0.2
"""A change wakes all streams at once; without it their bookmarks would go on coming in the same moment."""


class EventStream(Response, ABC):
    """An answer that goes on: a part at once, one whenever one of the services changes, and one in between."""

    def __init__(self, hub: CentralHubService, grant: Grant, waiters: Waiters, services: frozenset[str]) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.headers["Cache-Control"] = "no-store"
        self.headers["X-Accel-Buffering"] = "no"
        self._hub = hub
        self._grant = grant
        self._waiters = waiters
        self._services = services

    @abstractmethod
    def next_part(self) -> bytes | None:
        """What is new since the last part, a bookmark where nothing is; None ends the stream."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with self._waiters.waiting_for(self._services) as wake:
            gone = asyncio.create_task(_until_disconnected(receive, wake.set))
            self._hub.metrics.watchers.inc()
            try:
                while not gone.done() and self._is_allowed():
                    wake.clear()
                    part = self.next_part()
                    if part is None:
                        break
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    try:
                        async with asyncio.timeout(_pause()):
                            await wake.wait()
                    except TimeoutError:
                        continue
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                self._hub.metrics.watchers.dec()
                gone.cancel()

    def _is_allowed(self) -> bool:
        return not self._hub.draining.is_set() and self._hub.tokens.grants.still_valid(self._grant, datetime.now(UTC))


def _pause() -> float:
    return BOOKMARK_SECONDS * random.uniform(1.0 - BOOKMARK_JITTER, 1.0)  # noqa: S311 - spreads load, hides nothing


async def _until_disconnected(receive: Receive, wake: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    wake()
