"""This replica among the others: it says that it is there, and knows who else is, by their public keys."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from central_hub.connections.database import Database
from central_hub.errors import StoreUnavailable
from central_hub.security.signing import SigningKey, is_signed
from central_hub.storage import replicas
from central_hub.storage.replicas import ReplicaKey

BEAT_SECONDS: Final = 5.0
ALIVE_FOR: Final = timedelta(minutes=2)
AT_WORK_FOR: Final = timedelta(seconds=15)
"""A replica not heard of for so long has its instances checked, and its targets probed, by the others."""
KNOWN_FOR: Final = timedelta(days=30)

log = structlog.get_logger()


class Presence:
    """`on_at_work` is told the ids of the replicas that share the work, this one among them, whenever they are read."""

    def __init__(self, database: Database, key: SigningKey, on_at_work: Callable[[Iterable[str]], None]) -> None:
        self._database = database
        self._key = key
        self._on_at_work = on_at_work
        self._keys: dict[str, bytes] = {}

    async def announce(self) -> None:
        """Say that this replica is there, and look who else is. Raises StoreUnavailable."""
        key = ReplicaKey(self._key.id, self._key.public_key)
        await self._database.transaction(lambda connection: replicas.beat(connection, key, at=datetime.now(UTC)))
        await self._read()

    async def run(self, before: Callable[[], Awaitable[None]]) -> None:
        """Announce again and again, each time after `before`, until cancelled."""
        while True:
            try:
                await before()
                await self.announce()
            except StoreUnavailable:
                log.debug("replica_beat_failed")
            await asyncio.sleep(BEAT_SECONDS)

    async def live_keys(self) -> list[ReplicaKey]:
        """The public keys of the replicas that are alive; the last known ones while the store is down."""
        try:
            await self._read()
        except StoreUnavailable:
            log.warning("keys_are_stale")
        keys = {**self._keys, self._key.id: self._key.public_key}
        return [ReplicaKey(key_id, public_key) for key_id, public_key in sorted(keys.items())]

    def has_signed(self, payload: bytes, signature: str, key_id: str) -> bool:
        """Whether a replica that is alive has signed this, by the keys last read."""
        public_key = self._key.public_key if key_id == self._key.id else self._keys.get(key_id)
        return public_key is not None and is_signed(payload, signature, public_key)

    async def forget_old(self) -> None:
        """Remove the replicas that were not heard of for a month. Raises StoreUnavailable."""
        await self._database.transaction(
            lambda connection: replicas.forget_before(connection, datetime.now(UTC) - KNOWN_FOR)
        )

    async def _read(self) -> None:
        async with self._database.reading() as connection:
            now = datetime.now(UTC)
            alive = await replicas.alive(connection, since=now - ALIVE_FOR)
            at_work = await replicas.alive(connection, since=now - AT_WORK_FOR)
        self._on_at_work([key.id for key in at_work])
        self._keys = {key.id: key.public_key for key in alive}
