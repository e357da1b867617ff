"""Tell the bus what changed, after the commit, until the stream is known to have it.

There is no leader and no "sent" flag. Whatever this replica applies is pending until it has published it or has heard
it from another replica; the replica that committed publishes at once, the others wait a moment for it. So a hub that
dies between commit and announcement loses nothing. Whatever else comes from the bus may be a lie: a stream that was
lost or tampered with is filled again, when that is heard or at the next look.
"""

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import orjson
import structlog

from central_hub.config.snapshot import Key, Representation, Snapshot
from central_hub.config.tail import Tail
from central_hub.connections.bus import Bus
from central_hub.security.signing import Signer
from central_hub_client.wire import (
    BOOKMARK_SUBJECT,
    HUB_KEY_ID,
    HUB_SIGNATURE,
    MAX_PUSHED_BYTES,
    ConfigObject,
    Position,
    update_subject,
)

GRACE_SECONDS: Final = 1.0
BOOKMARK_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 30.0
_AT_ONCE: Final = 64

log = structlog.get_logger()


class Announcer:
    """Announces changed configs and bookmarks on the bus."""

    def __init__(self, tail: Tail, signer: Signer, bus: Bus | None) -> None:
        """`bus` is None where none is configured: then nothing is announced, and nothing waits to be."""
        self._tail = tail
        self._signer = signer
        self._bus = bus
        self._pending: dict[Key, float] = {}
        self._asked: set[Position] = set()
        self._publishing = asyncio.Lock()
        self._wake = asyncio.Event()
        self.failures = 0
        tail.feed.listen(self._changed)

    @property
    def pending(self) -> int:
        """How many configs are not known to be on the stream."""
        return len(self._pending)

    async def announced(self, position: Position) -> bool:
        """Announce at once what changed at `position`. False where the bus does not take it: it is told later."""
        if self._bus is None or not self._bus.is_answering:
            return False
        # Whoever waits here for the one who is publishing is published together with all others who wait.
        self._asked.add(position)
        async with self._publishing:
            asked, self._asked = self._asked, set()
            # Where the bus did not take what was published before, those who waited meanwhile need not try as well.
            if asked and self._bus.is_answering:
                await self._publish_all(self._pending_at(asked))
            return not self._pending_at({position})

    async def connected(self) -> None:
        """The bus is there (again): whatever its stream does not have must be told. Raises OSError."""
        if self._bus is None or not self._tail.is_loaded:
            return
        kept: set[str] = set()

        def look(subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
            kept.add(subject)
            self.heard(subject, payload, headers)

        await self._bus.last_messages(look)
        self._wait_for_others(key for key in self._tail.snapshot.representations if update_subject(*key) not in kept)

    def heard(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """A message on the update subjects, from another replica or from anybody."""
        if not self._tail.is_loaded:
            return
        told = self._told_by_a_replica(subject, payload, headers)
        if told is not None and told.position > self._tail.snapshot.position:
            self._tail.hint()
        key = _key(subject)
        expected = self._tail.snapshot.representations.get(key)
        if expected is None or update_subject(*key) != subject:
            return
        if told is not None and told.position >= expected.object.position:
            self._pending.pop(key, None)
        else:
            # It has pushed the true message off the stream, which keeps one for each subject.
            self._wait_for_others([key])

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._publish_due()
            except Exception:
                log.exception("announcing_failed")
            try:
                await asyncio.wait_for(self._wake.wait(), 0.2 if self._pending else BOOKMARK_SECONDS)
                await asyncio.sleep(0.05)
            except TimeoutError:
                continue

    async def watch_stream(self) -> None:
        """Look regularly whether the stream still has everything, until cancelled."""
        seen: tuple[object, ...] = ()
        while self._bus is not None:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                state = await self._bus.stream_state()
                if state != seen:
                    await self.connected()
                seen = state
            except OSError:
                continue  # the bus knows, and has everything looked at when it is back
            except Exception:
                log.exception("looking_at_the_stream_failed")

    async def send_bookmarks(self) -> None:
        """Say regularly how far this replica has got, until cancelled."""
        while True:
            if self._bus is not None and self._tail.is_loaded:
                payload = orjson.dumps(self._tail.snapshot.bookmark.to_json())
                await self._bus.publish(BOOKMARK_SUBJECT, payload, self._signer.headers(payload))
            await asyncio.sleep(BOOKMARK_SECONDS)

    def _changed(self, _snapshot: Snapshot, changed: Mapping[Key, Representation]) -> None:
        self._wait_for_others(changed)

    def _wait_for_others(self, keys: Iterable[Key]) -> None:
        # The one who committed publishes at once; whoever else has seen the commit gives him this long.
        if self._bus is None:
            return
        at = time.monotonic() + GRACE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        for key in keys:
            self._pending.setdefault(key, at)
        self._wake.set()

    def _told_by_a_replica(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> ConfigObject | None:
        """The config that a message truly tells of; None for anything that no replica has said on this subject."""
        if not self._signer.is_signed_by_a_replica(
            payload, headers.get(HUB_SIGNATURE, ""), headers.get(HUB_KEY_ID, "")
        ):
            return None
        try:
            told = ConfigObject.from_json(orjson.loads(payload))
        except ValueError:
            return None
        is_here = update_subject(told.service, told.environment) == subject
        return told if is_here and told.hub_id == self._tail.snapshot.hub_id else None

    def _pending_at(self, positions: set[Position]) -> list[Key]:
        found = self._tail.snapshot.representations
        return [key for key in self._pending if key in found and found[key].object.position in positions]

    async def _publish_due(self) -> None:
        now = time.monotonic()
        due = [key for key, at in self._pending.items() if at <= now]
        for start in range(0, len(due), _AT_ONCE):
            if self._bus is None or not self._bus.is_connected:
                return
            # In turns: a write need not wait until a whole stream is filled again.
            async with self._publishing:
                if not await self._publish_all(due[start : start + _AT_ONCE]):
                    return

    async def _publish_all(self, keys: list[Key]) -> bool:
        """With `_publishing` held, so that of one subject a later revision never goes out before an earlier."""
        for start in range(0, len(keys), _AT_ONCE):
            results = await asyncio.gather(*(self._publish(key) for key in keys[start : start + _AT_ONCE]))
            if not all(results):
                self.failures += 1
                return False
        return True

    async def _publish(self, key: Key) -> bool:
        due_at = self._pending.pop(key, None)
        found = self._tail.snapshot.representations.get(key)
        if due_at is None or found is None or self._bus is None:
            return True
        payload = found.body
        if len(payload) > MAX_PUSHED_BYTES:
            payload = orjson.dumps(replace(found.object, is_hint=True).to_json())
        service, environment = key
        headers = {"Nats-Msg-Id": f"{found.object.position}.{service}.{environment}", **self._signer.headers(payload)}
        is_stored = False
        try:
            is_stored = await self._bus.publish_stored(update_subject(service, environment), payload, headers)
        finally:
            # Not before it is stored, but from now on: what changes or is forged meanwhile makes it pending by itself.
            if not is_stored:
                self._pending.setdefault(key, due_at)
        return is_stored


def _key(subject: str) -> Key:
    _, _, service, *rest = subject.split(".")
    return service, rest[0] if rest else "default"
