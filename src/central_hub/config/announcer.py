"""Tell the bus what changed, after the commit, until the stream is known to have it.

There is no leader and no "sent" flag. Whatever this replica applies is pending until it has published it or has heard
it from another replica; the replica that committed publishes at once, the others wait a moment for it. So a hub that
dies between commit and announcement loses nothing, and a stream that was lost or tampered with is filled again.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import orjson
import structlog

from central_hub.config.snapshot import Key, Representation, Snapshot
from central_hub.config.tail import Tail
from central_hub.connections.bus import Bus
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
_AT_ONCE: Final = 64

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Signer:
    """How announcements are signed, and how those of other replicas are recognised."""

    key_id: str
    sign: Callable[[bytes], str]
    is_signed_by_a_replica: Callable[[bytes, str, str], bool]


class Announcer:
    """Announces changed configs and bookmarks on the bus."""

    def __init__(self, tail: Tail, signer: Signer, bus: Bus | None) -> None:
        """`bus` is None where none is configured: then nothing is announced, and nothing waits to be."""
        self._tail = tail
        self._signer = signer
        self._bus = bus
        self._pending: dict[Key, float] = {}
        self._asked: set[Key] = set()
        self._publishing = asyncio.Lock()
        self._wake = asyncio.Event()
        self.failures = 0
        tail.feed.listen(self._changed)

    @property
    def pending(self) -> int:
        """How many configs are not known to be on the stream."""
        return len(self._pending)

    async def announced(self, position: Position) -> bool:
        """Announce at once what changed up to `position`. False where the bus does not take it: it is told later."""
        if self._bus is None or not self._bus.is_answering:
            return False
        snapshot = self._tail.snapshot
        keys = [
            key
            for key in self._pending
            if (found := snapshot.representations.get(key)) is not None and found.object.position <= position
        ]
        # Whoever waits here for the one who is publishing is published together with all others who wait.
        self._asked.update(keys)
        await self._publish_all(self._asked)
        return not any(key in self._pending for key in keys)

    async def connected(self) -> None:
        """The bus is there (again): whatever its stream does not have must be told."""
        if not self._tail.is_loaded:
            return
        self._wait_for_others(self._tail.snapshot.representations)
        if self._bus is not None:
            await self._bus.last_messages()

    def heard(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """A message on the update subjects, from another replica or from anybody."""
        if not self._tail.is_loaded:
            return
        if self._is_behind(headers):
            self._tail.hint()
        key = _key(subject)
        expected = self._tail.snapshot.representations.get(key)
        signed = self._signer.is_signed_by_a_replica(
            payload, headers.get(HUB_SIGNATURE, ""), headers.get(HUB_KEY_ID, "")
        )
        told = _told(payload) if signed else None
        if told is None or (told.service, told.environment) != key or told.hub_id != self._tail.snapshot.hub_id:
            # Not from a replica: it has pushed the true message off the stream, which keeps one for each subject.
            if expected is not None:
                self._wait_for_others([key])
        elif expected is None or told.position >= expected.object.position:
            self._pending.pop(key, None)
        else:
            self._wait_for_others([key])

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            self._wake.clear()
            try:
                now = time.monotonic()
                due = [key for key, at in self._pending.items() if at <= now]
                if due and self._bus is not None and self._bus.is_connected:
                    await self._publish_all(due)
            except Exception:
                log.exception("announcing_failed")
            try:
                await asyncio.wait_for(self._wake.wait(), 0.2 if self._pending else BOOKMARK_SECONDS)
                await asyncio.sleep(0.05)
            except TimeoutError:
                continue

    async def send_bookmarks(self) -> None:
        """Say regularly how far this replica has got, until cancelled."""
        while True:
            if self._bus is not None and self._tail.is_loaded:
                payload = orjson.dumps(self._tail.snapshot.bookmark.to_json())
                await self._bus.publish(BOOKMARK_SUBJECT, payload, self._signed(payload))
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

    def _is_behind(self, headers: Mapping[str, str]) -> bool:
        try:
            epoch, revision, _ = headers.get("Nats-Msg-Id", "").split(".", 2)
            return Position(int(epoch), int(revision)) > self._tail.snapshot.position
        except ValueError:
            return False

    async def _publish_all(self, keys: Iterable[Key]) -> None:
        # One at a time within this replica, so that for one subject a later revision never goes out before an earlier.
        async with self._publishing:
            queue = [key for key in keys if key in self._pending]
            self._asked.difference_update(list(keys))
            for start in range(0, len(queue), _AT_ONCE):
                results = await asyncio.gather(*(self._publish(key) for key in queue[start : start + _AT_ONCE]))
                if not all(results):
                    self.failures += 1
                    return

    async def _publish(self, key: Key) -> bool:
        found = self._tail.snapshot.representations.get(key)
        if found is None or self._bus is None:
            self._pending.pop(key, None)
            return True
        payload = found.body
        if len(payload) > MAX_PUSHED_BYTES:
            payload = orjson.dumps(replace(found.object, is_hint=True).to_json())
        service, environment = key
        headers = {"Nats-Msg-Id": f"{found.object.position}.{service}.{environment}", **self._signed(payload)}
        if not await self._bus.publish_stored(update_subject(service, environment), payload, headers):
            return False
        # What has changed meanwhile is pending again by itself.
        if self._tail.snapshot.representations.get(key) is found:
            self._pending.pop(key, None)
        return True

    def _signed(self, payload: bytes) -> dict[str, str]:
        return {HUB_KEY_ID: self._signer.key_id, HUB_SIGNATURE: self._signer.sign(payload)}


def _key(subject: str) -> Key:
    _, _, service, *rest = subject.split(".")
    return service, rest[0] if rest else "default"


def _told(payload: bytes) -> ConfigObject | None:
    try:
        return ConfigObject.from_json(orjson.loads(payload))
    except (ValueError, orjson.JSONDecodeError):
        return None
