"""Every write of a document or a schema: checked, committed, then announced."""

import asyncio
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.config import key_history
from central_hub.config.blame import Blame
from central_hub.config.commit_queue import CommitQueue
from central_hub.config.conformance import Conformance, OutOfTime
from central_hub.config.contracts import Contracts
from central_hub.config.effect import Foreseen
from central_hub.config.guards import check_type_reuse
from central_hub.config.plan import Retry, Write, guard, plan
from central_hub.config.reach import Inputs, View
from central_hub.config.snapshot import own_representation
from central_hub.config.tail import Tail
from central_hub.connections.database import Database
from central_hub.errors import Finding, HubError, IdempotencyMismatch, StoreUnavailable, Warned
from central_hub.storage import configs, idempotency
from central_hub.storage.configs import Action, Commit, Document, DocumentChange, Draft, Head, Kind
from central_hub.storage.idempotency import Remembered
from central_hub_client.wire import Position

REMEMBERED_FOR: Final = timedelta(hours=24)
_LARGE_BYTES: Final = 32 * 1024
_CHECKED_IN_TURN_SECONDS: Final = 0.25
"""As long as nobody else can write, schemas may be asked for so long; a write that needs more starts again."""
_MOST_STARTS: Final = 5
_MOST_REMOVALS: Final = 100
_LOOKED_BACK: Final = 500
_STATUS: Final = {Action.CREATED: "created", Action.DELETED: "deleted"}

Announce = Callable[[Position], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a write did: what its author is told, the document's new ETag, and how far the log has come."""

    answer: Mapping[str, Any]
    etag: str
    position: Position
    foreseen: Foreseen | None = None
    """Of a write that was only tried."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """What a write comes to, if the document is still this one when its turn has come."""

    write: Write
    document: Document | None
    epoch: int
    change: DocumentChange | None
    conforms: frozenset[Inputs] = frozenset()
    """What was found to satisfy its schema, if that is still what the change leads to."""
    agreed: frozenset[Inputs] = frozenset()
    """What the builds that run it have agreed to."""
    warnings: tuple[Finding, ...] = ()
    """What its author should know."""

    @property
    def claims(self) -> frozenset[Hashable]:
        """The document, and the Idempotency-Key: of those there is one in a commit."""
        retry = self.write.retry
        return frozenset({self.write.key} if retry is None else {self.write.key, (retry.token_id, retry.key)})

    def still_holds(self, head: Head, revision: int | None) -> bool:
        """Whether the document is the one that was planned for, now that nobody else can change it."""
        return head.epoch == self.epoch and revision == (None if self.document is None else self.document.revision)


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of a write, and its commit: None where nothing had to be stored."""

    outcome: Outcome
    commit: Commit | None = None


class _Overtaken:
    """What a write was checked against has moved, and checking it again takes too long to do it in its turn."""


_Settled = _Done | _Overtaken | HubError


class ConfigStore:
    """Writes documents and schemas. What they are is in the tail's snapshot, what they were in `ConfigHistory`."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        conformance: Conformance,
        contracts: Contracts,
        announced: Announce,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._tail = tail
        self._conformance = conformance
        self._contracts = contracts
        self._announced = announced
        self._clock = clock
        self._began: dict[tuple[int, str, str], datetime] = {}
        self._queue: CommitQueue[_Planned, _Done | _Overtaken] = CommitQueue(self._commit)

    async def write(self, write: Write) -> Outcome:
        """Carry out one write. Raises the HubError of the first rule that it breaks, and StoreUnavailable."""
        self._tail.check_writable()
        planned: _Planned | Outcome | None = await self._plan_on_snapshot(write)
        for _ in range(_MOST_STARTS):
            if planned is None:
                planned = await self._plan_on_store(write)
            if isinstance(planned, Outcome):
                return planned
            done = await self._queue.commit(planned)
            if not isinstance(done, _Overtaken):
                return await self._announce(done)
            planned = None
        raise StoreUnavailable(
            "nothing was stored: what this change is checked against changes faster than it can be checked; try again"
        )

    async def forget_old_answers(self) -> None:
        """Remove remembered answers that are older than a day. Raises StoreUnavailable."""
        moment = self._clock() - REMEMBERED_FOR
        await self._database.transaction(lambda connection: idempotency.forget_before(connection, moment))

    async def _announce(self, done: _Done) -> Outcome:
        if done.commit is None:
            return done.outcome
        # After the commit: nobody may hear of a row that cannot be read yet.
        await self._tail.committed(done.commit)
        announced = await self._announced(done.outcome.position)
        return replace(done.outcome, answer={**done.outcome.answer, "announced": announced})

    async def _plan_on_snapshot(self, write: Write) -> _Planned | None:
        """The plan on what this replica has applied, which spares two questions to the database.

        None where it may not be the truth: a refusal must speak of the document as it is stored, and so must a dry run.
        """
        if write.dry_run or not self._tail.is_loaded:
            return None
        snapshot = self._tail.snapshot
        found = snapshot.documents if write.kind is Kind.DOCUMENT else snapshot.schemas
        document = found.get((write.service, write.environment))
        try:
            return await self._plan(write, document, snapshot.head, View.of(snapshot))
        except HubError:
            return None

    async def _plan_on_store(self, write: Write) -> _Planned | Outcome:
        """The plan on what is stored, or the answer where none is needed: to a dry run, or the one given before."""
        found = await self._database.transaction(lambda connection: self._read_for(connection, write))
        if isinstance(found, Outcome):
            return found
        # Without a connection: the checks may take long.
        document, head, view = found
        planned = await self._plan(write, document, head, view)
        if write.dry_run:
            outcome = _outcome(planned, planned.change, head, document, status="valid")
            return replace(outcome, foreseen=Foreseen(view, planned.change))
        return planned

    async def _read_for(
        self, connection: AsyncConnection, write: Write
    ) -> tuple[Document | None, Head, View] | Outcome:
        if (answered := (await self._answered_before(connection, [write])).get(write.retry)) is not None:
            return _same_answer(write, answered)
        document = await self._stored(connection, write)
        head = await configs.head(connection)
        return document, head, await self._view(connection, head)

    async def _plan(
        self, write: Write, document: Document | None, head: Head, view: View, *, deadline: float = math.inf
    ) -> _Planned:
        """What a write comes to, checked in the order of the contract. Raises the HubError of the first rule broken.

        After `deadline` it is OutOfTime.
        """
        change = await _change(write, document, head)
        if change is None:
            return _Planned(write, document, head.epoch, None)
        conforms = await self._conformance.require(view, change, deadline=deadline)
        agreement = await self._contracts.require(view, change, is_forced=write.forces_contracts, deadline=deadline)
        guard(write, document, change)
        warnings = [*change.warnings, *agreement.warnings, *await self._told_by_the_past(write, document, change)]
        return _Planned(write, document, head.epoch, change, conforms, agreement.inputs, tuple(warnings))

    async def _told_by_the_past(
        self, write: Write, document: Document | None, change: DocumentChange
    ) -> Sequence[Finding]:
        """What the history of the document has to say to a change of it. Raises TypeReuse."""
        if document is None or change.kind is Kind.SCHEMA:
            return []
        created = key_history.created(change.changes) if write.guards_types else {}
        if created:
            async with self._database.reading() as connection:
                past = await configs.removals(connection, *document.key, limit=_MOST_REMOVALS)
            check_type_reuse(key_history.reused(created, past))
        altered = key_history.altered(change.changes)
        since = self._clock() - key_history.UNTOUCHED_FOR
        if not altered or await self._is_younger(document, since):
            return []
        async with self._database.reading() as connection:
            untouched = await _untouched(connection, document, altered, since)
        days = key_history.UNTOUCHED_FOR.days
        return [Finding(key, Warned.UNTOUCHED_KEY, f"was not touched for {days} days") for key in untouched]

    async def _is_younger(self, document: Document, moment: datetime) -> bool:
        """Whether a document began after a moment."""
        name = (self._tail.snapshot.epoch, *document.key) if self._tail.is_loaded else None
        began = None if name is None else self._began.get(name)
        if began is None:
            async with self._database.reading() as connection:
                began = await configs.began(connection, *document.key)
            if name is not None and began is not None:
                self._began[name] = began
        return began is not None and began > moment

    async def _view(self, connection: AsyncConnection, head: Head) -> View:
        """All documents and schemas as they are at `head`: what this replica has applied, and what was added since."""
        if self._tail.is_loaded:
            snapshot = self._tail.snapshot
            ahead = head.revision - snapshot.revision
            if (snapshot.hub_id, snapshot.epoch) == (head.hub_id, head.epoch) and ahead >= 0:
                later = await configs.commits_after(connection, snapshot.revision, limit=ahead) if ahead else []
                if later is not None:
                    return View.of(snapshot, later)
        documents, schemas = await configs.all_documents(connection), await configs.all_schemas(connection)
        return View({document.key: document for document in documents}, {schema.key: schema for schema in schemas})

    async def _stored(self, connection: AsyncConnection, write: Write) -> Document | None:
        return await configs.get(connection, write.service, write.environment, write.kind)

    async def _commit(self, turns: Sequence[_Planned]) -> list[_Settled]:
        # The store may have gone while these waited: whoever is behind a time-out must not wait for one more.
        self._tail.check_writable()
        return await self._database.transaction(lambda connection: self._commit_in(connection, turns))

    async def _commit_in(self, connection: AsyncConnection, turns: Sequence[_Planned]) -> list[_Settled]:
        # From here on one replica at a time, so everything that takes long has been done before.
        await configs.lock(connection)
        answered = await self._answered_before(connection, [turn.write for turn in turns])
        head, revisions = await configs.revisions_of(connection, [turn.write.key for turn in turns])
        self._tail.check_history(head)
        view = await self._view(connection, head)
        deadline = time.monotonic() + _CHECKED_IN_TURN_SECONDS
        revision = head.revision
        results: list[_Settled | _Planned] = []
        for turn in turns:
            try:
                if (before := answered.get(turn.write.retry)) is not None:
                    results.append(_Done(_same_answer(turn.write, before)))
                    continue
                planned = turn
                if not turn.still_holds(head, revisions.get(turn.write.key)):
                    document = await self._stored(connection, turn.write)
                    planned = await self._plan(turn.write, document, head, view, deadline=deadline)
                elif turn.change is not None:
                    # Somebody may have changed another layer, or the schema, since this was planned.
                    await self._conformance.require(view, turn.change, known=turn.conforms, deadline=deadline)
                    await self._contracts.require(
                        view,
                        turn.change,
                        is_forced=turn.write.forces_contracts,
                        known=turn.agreed,
                        deadline=deadline,
                    )
                results.append(planned)
            except HubError as refusal:
                results.append(refusal)
                continue
            except OutOfTime:
                results.append(_Overtaken())
                continue
            if planned.change is not None:
                revision += 1
                view = view.after(planned.change, revision)
        return await self._save(connection, head, results)

    async def _save(
        self, connection: AsyncConnection, head: Head, results: Sequence[_Settled | _Planned]
    ) -> list[_Settled]:
        changing = [result for result in results if isinstance(result, _Planned) and result.change is not None]
        now = _milliseconds(self._clock())
        commits = iter(await configs.save(connection, head, [_draft(turn, now) for turn in changing]))
        done: list[_Settled] = []
        to_remember: list[Remembered] = []
        for result in results:
            if not isinstance(result, _Planned):
                done.append(result)
                continue
            if result.change is None:
                saved = _Done(_outcome(result, None, head, result.document, status="unchanged"))
            else:
                commit = next(commits)
                head = replace(head, revision=commit.revision, audit_head=commit.audit_head)
                (stored,) = commit.documents or commit.schemas
                status = _status(result.change, result.document)
                outcome = _outcome(result, result.change, head, stored, status=status)
                saved = _Done(outcome, commit)
            done.append(saved)
            to_remember += _remembered(result.write.retry, saved)
        await idempotency.remember(connection, to_remember, at=now)
        return done

    async def _answered_before(
        self, connection: AsyncConnection, writes: Iterable[Write]
    ) -> dict[Retry | None, Remembered]:
        """By Retry, the answers that were given to the same key of the same token."""
        retries = [write.retry for write in writes if write.retry is not None and not write.dry_run]
        found = await idempotency.find(connection, [(retry.token_id, retry.key) for retry in retries])
        return {retry: found[name] for retry in retries if (name := (retry.token_id, retry.key)) in found}


def _same_answer(write: Write, answered: Remembered) -> Outcome:
    if write.retry is None or answered.request_hash != write.retry.request_hash:
        raise IdempotencyMismatch("this Idempotency-Key came with another request before; take a new key for each")
    answer = json.loads(answered.response)
    return Outcome(answer, answered.etag, Position(answer["epoch"], answer["revision"]))


def _remembered(retry: Retry | None, done: _Done) -> list[Remembered]:
    if retry is None:
        return []
    revision = None if done.commit is None else done.commit.revision
    answer = json.dumps(done.outcome.answer)
    return [Remembered(retry.token_id, retry.key, retry.request_hash, answer, done.outcome.etag, revision)]


def _draft(turn: _Planned, now: datetime) -> Draft:
    assert turn.change is not None  # noqa: S101 - the only caller has checked
    return Draft(
        changes=(turn.change,),
        salts=(secrets.token_bytes(16),),
        changed_at=now,
        changed_by=turn.write.author,
        reason=turn.write.reason,
    )


def _status(change: DocumentChange, before: Document | None) -> str:
    if change.kind is Kind.SCHEMA:
        was_there = before is not None and before.config is not None
        return "deleted" if change.config is None else "updated" if was_there else "created"
    return _STATUS.get(change.action, "updated")


async def _change(write: Write, document: Document | None, head: Head) -> DocumentChange | None:
    # The checks look at every value. For a large document that is done in a thread, so that nobody else waits for it.
    if write.size_bytes < _LARGE_BYTES:
        return plan(write, document, head)
    return await asyncio.to_thread(plan, write, document, head)


def _outcome(
    planned: _Planned, change: DocumentChange | None, head: Head, document: Document | None, *, status: str
) -> Outcome:
    write = planned.write
    version = change.version if change is not None else document.version if document is not None else ""
    answer = {
        "status": status,
        "service": write.service,
        "environment": write.environment,
        "version": version,
        "revision": 0 if document is None else document.revision,
        "epoch": head.epoch,
        "changes": [] if change is None else change.changes,
        "warnings": [warning.to_json() for warning in planned.warnings],
        "announced": status != "valid",
    }
    etag = "" if document is None else own_representation(document, head.hub_id, head.epoch).etag
    return Outcome(answer, etag, head.position)


async def _untouched(
    connection: AsyncConnection, document: Document, altered: Sequence[str], since: datetime
) -> list[str]:
    """Those of the keys that nobody has altered since. None where that is not told by the newest entries."""
    blame = Blame(altered)
    entries = await configs.changes_before(connection, *document.key, before=document.revision + 1, limit=_LOOKED_BACK)
    for entry in entries:
        if not blame.missing:
            break
        if entry.changed_at < since:
            return [key for key in altered if key in blame.missing]
        blame.take(entry)
    return []


def _milliseconds(moment: datetime) -> datetime:
    # What is hashed must be what is stored and shown, and that has milliseconds.
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
