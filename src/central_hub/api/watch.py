"""Server-sent events: the current state first, then every change, bookmarks in between, and an end when asked to end.

A stream holds no queue. It wakes, reads the current snapshot and sends what is newer than what it sent last: a slow
reader skips intermediate values and never makes the hub remember anything for it.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from central_hub.config.snapshot import Representation, Snapshot
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService
from central_hub_client.wire import HUB_REVISION, Position

BOOKMARK_SECONDS: Final = 1.5
"""Below the two seconds that are promised, so that a busy loop keeps the promise."""


class WatchStream(Response):
    """The answer to `GET /config/watch`."""

    def __init__(
        self, hub: CentralHubService, grant: Grant, services: frozenset[str], environment: str, after: Position | None
    ) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.headers["Cache-Control"] = "no-store"
        self.headers["X-Accel-Buffering"] = "no"
        self.headers[HUB_REVISION] = str(hub.tail.snapshot.position)
        self._hub = hub
        self._grant = grant
        self._services = services
        self._environment = environment
        self._sent = after
        snapshot = hub.tail.snapshot
        self._history = (snapshot.hub_id, snapshot.epoch if after is None else after.epoch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with self._hub.tail.feed.waiting_for(self._services) as wake:
            gone = asyncio.create_task(_until_disconnected(receive, wake.set))
            self._hub.metrics.watchers.inc()
            try:
                while not gone.done() and self._is_allowed():
                    wake.clear()
                    snapshot = self._hub.tail.snapshot
                    if (snapshot.hub_id, snapshot.epoch) != self._history:
                        # What was told may be lost. Whoever resumes is answered 410 and knows it.
                        break
                    await send({"type": "http.response.body", "body": self._next_part(snapshot), "more_body": True})
                    try:
                        async with asyncio.timeout(BOOKMARK_SECONDS):
                            await wake.wait()
                    except TimeoutError:
                        continue
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                self._hub.metrics.watchers.dec()
                gone.cancel()

    def _is_allowed(self) -> bool:
        return not self._hub.draining.is_set() and self._hub.tokens.grants.still_valid(self._grant, datetime.now(UTC))

    def _next_part(self, snapshot: Snapshot) -> bytes:
        """What is new since the last part, as one batch; a bookmark where nothing is."""
        found = (snapshot.find(service, self._environment) for service in self._services)
        newer = [
            representation
            for representation in found
            if representation is not None and (self._sent is None or representation.object.position > self._sent)
        ]
        self._sent = snapshot.position
        if not newer:
            return b"event: bookmark\ndata: " + orjson.dumps(snapshot.bookmark.to_json()) + b"\n\n"
        newer.sort(key=lambda representation: (representation.revision, representation.object.service))
        last = len(newer) - 1
        return b"".join(_event(representation, is_last=index == last) for index, representation in enumerate(newer))


def _event(representation: Representation, *, is_last: bool) -> bytes:
    # Only the last event of a batch carries an id: who resumes after an id has seen every commit up to it whole.
    identity = f"id: {representation.object.position}\n".encode() if is_last else b""
    return b"event: config\n" + identity + b"data: " + representation.body + b"\n\n"


async def _until_disconnected(receive: Receive, wake: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    wake()
