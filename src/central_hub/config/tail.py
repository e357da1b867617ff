"""Follow the log: every replica reaches every revision, in order, whatever the bus says or does not say.

Hints (from the bus, or from a write of our own) only shorten the wait: what is applied is read from the log, and the
next commit must be `applied + 1`. A lost, doubled, reordered or forged hint costs latency and nothing else.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.config.feed import ChangeFeed
from central_hub.config.snapshot import (
    Key,
    Representation,
    Snapshot,
    keys_to_represent,
    represent,
    touched_keys,
)
from central_hub.connections.database import Database, cause_of
from central_hub.connections.link import Link
from central_hub.errors import StoreUnavailable
from central_hub.storage import config_log, configs
from central_hub.storage.config_values import Commit, Document, Head
from central_hub_client.wire import Position

POLL_SECONDS: Final = 1.0
BATCH: Final = 200
_LONGEST_BLOCK_SECONDS: Final = 0.005

T = TypeVar("T")

log = structlog.get_logger()


class Tail:
    """Holds the current snapshot and moves it along the log."""

    def __init__(self, database: Database, link: Link, *, on_head: Callable[[Head], Awaitable[None]]) -> None:
        """`link` is told how the store is; `on_head` is told at every look at the log where it ends."""
        self._database = database
        self._link = link
        self._on_head = on_head
        self._hint = asyncio.Event()
        self._own_commits: dict[int, Commit] = {}
        self._applying = asyncio.Lock()
        self._snapshot: Snapshot | None = None
        self.feed = ChangeFeed()
        self.is_stale = False
        self.fenced: str | None = None
        self.store_revision = 0
        self.reached_at = time.monotonic()

    @property
    def is_loaded(self) -> bool:
        return self._snapshot is not None

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot. Raises StoreUnavailable until the first one is loaded."""
        if self._snapshot is None:
            raise StoreUnavailable("the hub is starting: the documents are not loaded yet")
        return self._snapshot

    @property
    def lag_seconds(self) -> float:
        """How long ago the end of the log was last known to be reached."""
        return time.monotonic() - self.reached_at

    def check_writable(self) -> None:
        """Raise StoreUnavailable while the store does not answer, or is another one than the one that was followed."""
        if self.fenced is not None:
            raise StoreUnavailable(self.fenced)
        if self.is_stale:
            # Waiting for it once more would take until the time-out. It may be back: look at once.
            self.hint()
            raise StoreUnavailable("the database does not answer: nothing was stored; try again")

    def check_history(self, head: Head) -> None:
        """For a writer whose turn it is, and who finds the log ending at `head`. Raises StoreUnavailable.

        What is applied here was read from the log, so a log that ends before that has lost something.
        """
        if self._snapshot is None or head.hub_id != self._snapshot.hub_id:
            return
        is_same_place = head.position == self._snapshot.position
        if head.position < self._snapshot.position or (
            is_same_place and head.audit_head != self._snapshot.head.audit_head
        ):
            raise StoreUnavailable(self._fence(head))

    async def load(self) -> None:
        """Read every document anew. Raises StoreUnavailable."""
        async with self._applying:
            await self._load()

    def hint(self) -> None:
        """Somebody says that there is something new."""
        self._hint.set()

    async def committed(self, commit: Commit) -> None:
        """Take over a commit that this replica has just made durable; return when it can be read here."""
        self._own_commits[commit.revision] = commit
        while not self._has(Position(commit.epoch, commit.revision)):
            async with self._applying:
                if self._snapshot is None or not await self._apply_own():
                    break
        if not self._has(Position(commit.epoch, commit.revision)):
            # Another replica's commit lies between: the log has both.
            self.hint()
            await self.reached(Position(commit.epoch, commit.revision), timeout_seconds=2.0)

    async def reached(self, position: Position, *, timeout_seconds: float) -> bool:
        """Wait until the snapshot is at `position` or beyond. False when it is not within the time."""
        deadline = time.monotonic() + timeout_seconds
        while not self._has(position):
            self.hint()
            moved = self.feed.moved()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            try:
                await asyncio.wait_for(moved.wait(), min(remaining, 0.25))
            except TimeoutError:
                continue
        return True

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hint.wait(), POLL_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            self._hint.clear()
            try:
                await asyncio.wait_for(self.catch_up(), POLL_SECONDS * 5)
            except (StoreUnavailable, TimeoutError) as error:
                if not self.is_stale:
                    log.warning("store_lost", error=str(error) or "no answer")
                self.is_stale = True
                self._link.fails(f"not reached ({cause_of(error)})")
                await asyncio.sleep(0.1)
            except Exception:
                # The top of a background loop: whatever happens, a replica must go on following.
                log.exception("tail_failed")
                self.is_stale = True
                self._link.fails("the end of the log cannot be read: the log of this hub says why")
                await asyncio.sleep(POLL_SECONDS)

    async def catch_up(self) -> None:
        """Read and apply what the log has beyond the snapshot. Raises StoreUnavailable."""
        async with self._applying:
            if self._snapshot is None:
                await self._load()
                return
            applied = self._snapshot.revision
            head, hash_at = await self._read(lambda connection: configs.head_and_hash_at(connection, applied))
            if head.hub_id != self._snapshot.hub_id or head.epoch > self._snapshot.epoch:
                log.warning("epoch_changed", was=str(self._snapshot.position), now=str(head.position))
                await self._load()
                return
            # The numbers alone do not tell: a store that went back may have been written to since.
            if head.epoch < self._snapshot.epoch or (applied > 0 and hash_at != self._snapshot.head.audit_head):
                self._fence(head)
                return
            while self._snapshot.revision < head.revision:
                if self._snapshot.revision + 1 in self._own_commits:
                    await self._apply_own()
                    continue
                commits = await self._read(
                    lambda connection: config_log.commits_after(connection, self.snapshot.revision, limit=BATCH)
                )
                if commits is None:
                    await self._load()
                    break
                for commit in commits:
                    if commit.revision != self._snapshot.revision + 1:
                        break
                    await self._apply(commit)
            await self._on_head(head)
            self._caught_up(head)

    def _has(self, position: Position) -> bool:
        return self._snapshot is not None and self._snapshot.position >= position

    def _fence(self, head: Head) -> str:
        """Write nothing and read as before, until the store is the right one again or has a new epoch; returns why."""
        if self.fenced is None:
            log.error("fenced", applied=str(self.snapshot.position), store=str(head.position))
            self.fenced = (
                f"this replica has applied {self.snapshot.position}, which is not in the log of the store any more (it"
                f" ends at {head.position}): the store was restored or replaced behind the hub's back. Nothing is"
                " written until the right store is there again. If this is the right one, raise its epoch, and all"
                f" hubs and clients follow it: {configs.RAISE_EPOCH}"
            )
        self.is_stale = True
        self._link.fails(self.fenced)
        return self.fenced

    async def _apply_own(self) -> bool:
        assert self._snapshot is not None  # noqa: S101 - the only callers have checked
        commit = self._own_commits.pop(self._snapshot.revision + 1, None)
        if commit is None or commit.epoch != self._snapshot.epoch:
            return False
        await self._apply(commit)
        return True

    async def _apply(self, commit: Commit) -> None:
        before = self.snapshot
        documents: dict[Key, Document] = {**before.documents}
        documents.update((document.key, document) for document in commit.documents)
        keys = touched_keys(documents, commit)
        changed = await self._represent(documents, keys, before.hub_id, commit.epoch)
        head = replace(before.head, epoch=commit.epoch, revision=commit.revision, audit_head=commit.audit_head)
        schemas = before.schemas
        if commit.schemas:
            schemas = {**schemas, **{schema.key: schema for schema in commit.schemas}}
        self._snapshot = Snapshot(head, documents, {**before.representations, **changed}, schemas)
        for revision in [known for known in self._own_commits if known <= commit.revision]:
            del self._own_commits[revision]
        self.feed.publish(self._snapshot, changed)

    async def _load(self) -> None:
        head, rows, schemas = await self._read(_everything)
        documents = {document.key: document for document in rows}
        representations = await self._represent(documents, keys_to_represent(documents), head.hub_id, head.epoch)
        # Before there is a snapshot: with that the hub is ready, and then it must know the tokens.
        await self._on_head(head)
        self._snapshot = Snapshot(head, documents, representations, {schema.key: schema for schema in schemas})
        self._own_commits.clear()
        self._caught_up(head)
        self.feed.publish(self._snapshot, representations)
        log.info("snapshot_loaded", position=str(self._snapshot.position), documents=len(documents))

    async def _represent(
        self, documents: dict[Key, Document], keys: Iterable[Key], hub_id: str, epoch: int
    ) -> dict[Key, Representation]:
        found: dict[Key, Representation] = {}
        since = time.monotonic()
        for key in keys:
            representation = represent(documents, hub_id, epoch, *key)
            if representation is not None:
                found[key] = representation
            # A change of `_global` touches every service: other requests go on in between.
            if time.monotonic() - since > _LONGEST_BLOCK_SECONDS:
                await asyncio.sleep(0)
                since = time.monotonic()
        return found

    async def _read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self._database.reading() as connection:
            return await work(connection)

    def _caught_up(self, head: Head) -> None:
        self.store_revision = head.revision
        if self.is_stale:
            log.info("store_found")
        self.is_stale = False
        self._link.works()
        self.fenced = None
        self.reached_at = time.monotonic()


async def _everything(connection: AsyncConnection) -> tuple[Head, list[Document], list[Document]]:
    return (
        await configs.head(connection),
        await configs.all_documents(connection),
        await configs.all_schemas(connection),
    )
