"""Every write of a document: checked, committed, then announced."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.config.plan import Write, plan
from central_hub.config.snapshot import own_representation
from central_hub.config.tail import Tail
from central_hub.connections.database import Database
from central_hub.errors import HubError, IdempotencyMismatch, StoreUnavailable
from central_hub.storage import configs, idempotency
from central_hub.storage.configs import Action, Commit, Document, DocumentChange, Head
from central_hub.storage.idempotency import Remembered
from central_hub_client.wire import Position

REMEMBERED_FOR: Final = timedelta(hours=24)
_LARGE_BYTES: Final = 32 * 1024
_STATUS: Final = {Action.CREATED: "created", Action.DELETED: "deleted"}

Announce = Callable[[Position], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a write did: what its author is told, the document's new ETag, and how far the log has come."""

    answer: Mapping[str, Any]
    etag: str
    position: Position


@dataclass(frozen=True, slots=True)
class _Planned:
    """What a write comes to, if the document is still this one when its turn has come."""

    document: Document | None
    epoch: int
    change: DocumentChange | None

    def still_holds(self, head: Head, revision: int | None) -> bool:
        """Whether the document is the one that was planned for, now that nobody else can change it."""
        return head.epoch == self.epoch and revision == (None if self.document is None else self.document.revision)


class ConfigStore:
    """Writes documents. What they are now is read from the tail's snapshot, what they were from `ConfigHistory`."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        announced: Announce,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._tail = tail
        self._announced = announced
        self._clock = clock

    async def write(self, write: Write) -> Outcome:
        """Carry out one write. Raises the HubError of the first rule that it breaks, and StoreUnavailable."""
        if self._tail.fenced is not None:
            raise StoreUnavailable(self._tail.fenced)
        known = await self._plan_on_snapshot(write)
        outcome, commit = await self._database.transaction(lambda connection: self._write(connection, write, known))
        if commit is None:
            return outcome
        # After the commit: nobody may hear of a row that cannot be read yet.
        await self._tail.committed(commit)
        announced = await self._announced(outcome.position)
        return replace(outcome, answer={**outcome.answer, "announced": announced})

    async def forget_old_answers(self) -> None:
        """Remove remembered answers that are older than a day. Raises StoreUnavailable."""
        moment = self._clock() - REMEMBERED_FOR
        await self._database.transaction(lambda connection: idempotency.forget_before(connection, moment))

    async def _plan_on_snapshot(self, write: Write) -> _Planned | None:
        """The plan on what this replica has applied, which spares two questions to the database.

        None where it may not be the truth: a refusal must speak of the document as it is stored, and so must a dry run.
        """
        if write.dry_run or not self._tail.is_loaded:
            return None
        snapshot = self._tail.snapshot
        document = snapshot.document(write.service, write.environment)
        try:
            return _Planned(document, snapshot.epoch, await _plan(write, document, snapshot.head))
        except HubError:
            return None

    async def _write(
        self, connection: AsyncConnection, write: Write, known: _Planned | None
    ) -> tuple[Outcome, Commit | None]:
        if known is None:
            if (again := await self._answered_before(connection, write)) is not None:
                return again, None
            document = await configs.get(connection, write.service, write.environment)
            head = await configs.head(connection)
            known = _Planned(document, head.epoch, await _plan(write, document, head))
            if write.dry_run:
                return _outcome(write, known.change, head, document, status="valid"), None
        # From here on one writer at a time, so everything that takes long has been done before.
        await configs.lock(connection)
        if (again := await self._answered_before(connection, write)) is not None:
            return again, None
        head, revision = await configs.revision_of(connection, write.service, write.environment)
        document, planned = known.document, known.change
        if not known.still_holds(head, revision):
            document = await configs.get(connection, write.service, write.environment)
            planned = await _plan(write, document, head)
        if planned is None:
            commit = None
            outcome = _outcome(write, None, head, document, status="unchanged")
        else:
            commit = await self._save(connection, write, head, planned)
            head = replace(head, revision=commit.revision, audit_head=commit.audit_head)
            status = _STATUS.get(planned.action, "updated")
            outcome = _outcome(write, planned, head, commit.documents[0], status=status)
        await self._remember(connection, write, outcome, commit)
        return outcome, commit

    async def _save(self, connection: AsyncConnection, write: Write, head: Head, planned: DocumentChange) -> Commit:
        return await configs.save(
            connection,
            head,
            [planned],
            changed_at=_milliseconds(self._clock()),
            changed_by=write.author,
            reason=write.reason,
            salts=[secrets.token_bytes(16)],
        )

    async def _answered_before(self, connection: AsyncConnection, write: Write) -> Outcome | None:
        if write.retry is None or write.dry_run:
            return None
        found = await idempotency.find(connection, write.retry.token_id, write.retry.key)
        if found is None:
            return None
        if found.request_hash != write.retry.request_hash:
            raise IdempotencyMismatch("this Idempotency-Key came with another request before; take a new key for each")
        answer = json.loads(found.response)
        return Outcome(answer, found.etag, Position(answer["epoch"], answer["revision"]))

    async def _remember(
        self, connection: AsyncConnection, write: Write, outcome: Outcome, commit: Commit | None
    ) -> None:
        if write.retry is None:
            return
        await idempotency.remember(
            connection,
            write.retry.token_id,
            write.retry.key,
            Remembered(write.retry.request_hash, json.dumps(outcome.answer), outcome.etag),
            revision=None if commit is None else commit.revision,
            at=self._clock(),
        )


async def _plan(write: Write, document: Document | None, head: Head) -> DocumentChange | None:
    # The checks look at every value. For a large document that is done in a thread, so that nobody else waits for it.
    if write.size_bytes < _LARGE_BYTES:
        return plan(write, document, head)
    return await asyncio.to_thread(plan, write, document, head)


def _outcome(
    write: Write, planned: DocumentChange | None, head: Head, document: Document | None, *, status: str
) -> Outcome:
    version = planned.version if planned is not None else document.version if document is not None else ""
    answer = {
        "status": status,
        "service": write.service,
        "environment": write.environment,
        "version": version,
        "revision": 0 if document is None else document.revision,
        "epoch": head.epoch,
        "changes": [] if planned is None else planned.changes,
        "warnings": [],
        "announced": status != "valid",
    }
    etag = "" if document is None else own_representation(document, head.hub_id, head.epoch).etag
    return Outcome(answer, etag, head.position)


def _milliseconds(moment: datetime) -> datetime:
    # What is hashed must be what is stored and shown, and that has milliseconds.
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
