"""Every write of a document or a schema: checked, committed, then announced."""

import asyncio
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.config import key_history
from central_hub.config.blame import Blame
from central_hub.config.commit_queue import CommitQueue
from central_hub.config.conformance import Conformance, OutOfTime
from central_hub.config.contracts import NOTHING_ASKED, Agreement, Contracts
from central_hub.config.effect import Foreseen
from central_hub.config.guards import check_type_reuse
from central_hub.config.outcome import Outcome, Result, outcome_of, same_answer
from central_hub.config.plan import Retry, Transaction, Write, guard_all, plan_all
from central_hub.config.reach import Inputs, View
from central_hub.config.refusal import Refused, refusal_of_all
from central_hub.config.tail import Tail
from central_hub.connections.database import Database
from central_hub.errors import Finding, HubError, StoreUnavailable, TypeReuse, Warned
from central_hub.storage import config_log, configs, idempotency
from central_hub.storage.config_values import Commit, Document, DocumentChange, Draft, Head, Key, Kind, Stored
from central_hub.storage.idempotency import Remembered
from central_hub_client.wire import Position

REMEMBERED_FOR: Final = timedelta(hours=24)
_LARGE_BYTES: Final = 32 * 1024
_CHECKED_IN_TURN_SECONDS: Final = 0.25
"""As long as nobody else can write, schemas may be asked for so long; a write that needs more starts again."""
_MOST_STARTS: Final = 5
_MOST_REMOVALS: Final = 100
_LOOKED_BACK: Final = 500

Announce = Callable[[Position], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class _Planned:
    """What a transaction comes to, if the documents are still these when its turn has come."""

    transaction: Transaction
    documents: tuple[Document | None, ...]
    epoch: int
    changes: tuple[DocumentChange | None, ...]
    conforms: frozenset[Inputs] = frozenset()
    """What was found to satisfy its schema, if that is still what the changes lead to."""
    agreed: Agreement = NOTHING_ASKED
    """What the builds that run it have to say."""
    told: tuple[tuple[Finding, ...], ...] = ()
    """What the author of each write should know."""

    @property
    def changing(self) -> tuple[DocumentChange, ...]:
        """The changes of those writes that change something."""
        return tuple(change for change in self.changes if change is not None)

    @property
    def changing_documents(self) -> tuple[DocumentChange, ...]:
        """Those of documents."""
        return tuple(change for change in self.changing if change.kind is Kind.DOCUMENT)

    @property
    def forced(self) -> frozenset[tuple[str, str]]:
        """The documents whose change is made whatever the builds say that run it."""
        return frozenset(
            (write.service, write.environment) for write in self.transaction.writes if write.forces_contracts
        )

    @property
    def claims(self) -> frozenset[Hashable]:
        """The documents, and the Idempotency-Key: of those there is one in a commit."""
        retry = self.transaction.retry
        keys: list[Hashable] = [*self.transaction.keys]
        return frozenset(keys if retry is None else [*keys, (retry.token_id, retry.key)])

    def still_holds(self, head: Head, stored: Mapping[Key, Stored]) -> bool:
        """Whether the documents are those that were planned for, now that nobody else can change them."""
        revisions = [stored[key].revision if key in stored else None for key in self.transaction.keys]
        return head.epoch == self.epoch and revisions == [
            None if document is None else document.revision for document in self.documents
        ]

    def results(self, commit: Commit | None, stored: Mapping[Key, Stored]) -> list[Result]:
        """What each write did; without a commit, what it would."""
        writes = self.transaction.writes
        return [
            Result(
                write,
                change,
                before,
                before if commit is None or change is None else commit.find(*write.key),
                told,
                stored[write.key].managed_by if write.key in stored else None,
            )
            for write, change, before, told in zip(
                writes, self.changes, self.documents, self.told or ((),) * len(writes), strict=True
            )
        ]


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of a transaction, and its commit: None where nothing had to be stored."""

    outcome: Outcome
    commit: Commit | None = None


class _Overtaken:
    """What a transaction was checked against has moved, and checking it again takes too long to do it in its turn."""


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

    async def write(self, transaction: Transaction) -> Outcome:
        """Carry out all of its writes or none. Raises the HubError of the first rule broken, and StoreUnavailable."""
        self._tail.check_writable()
        planned: _Planned | Outcome | None = await self._plan_on_snapshot(transaction)
        for _ in range(_MOST_STARTS):
            if planned is None:
                planned = await self._plan_on_store(transaction)
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

    async def _plan_on_snapshot(self, transaction: Transaction) -> _Planned | None:
        """The plan on what this replica has applied, which spares a question to the database.

        None where it may not be the truth: a refusal must speak of the document as it is stored, and so must a dry run.
        """
        if transaction.dry_run or not self._tail.is_loaded:
            return None
        snapshot = self._tail.snapshot
        try:
            return await self._plan(transaction, snapshot.head, View.of(snapshot))
        except HubError:
            return None

    async def _plan_on_store(self, transaction: Transaction) -> _Planned | Outcome:
        """The plan on what is stored, or the answer where none is needed: to a dry run, or the one given before."""
        found = await self._database.transaction(lambda connection: self._read_for(connection, transaction))
        if isinstance(found, Outcome):
            return found
        # Without a connection: the checks may take long.
        head, view, stored = found
        planned = await self._plan(transaction, head, view)
        if transaction.dry_run:
            outcome = outcome_of(
                transaction, planned.results(None, stored), head, common=planned.agreed.warnings, is_trial=True
            )
            return replace(outcome, foreseen=Foreseen(view, planned.changing_documents))
        return planned

    async def _read_for(
        self, connection: AsyncConnection, transaction: Transaction
    ) -> tuple[Head, View, Mapping[Key, Stored]] | Outcome:
        answered = await self._answered_before(connection, [transaction])
        if (before := answered.get(transaction.retry)) is not None:
            return same_answer(transaction.retry, before)
        head, stored = await configs.stored(connection, transaction.keys)
        return head, await self._view(connection, head), stored

    async def _plan(self, transaction: Transaction, head: Head, view: View, *, deadline: float = math.inf) -> _Planned:
        """What a transaction comes to, checked in the order of the contract. Raises the HubError of the first rule.

        After `deadline` it is OutOfTime.
        """
        documents = tuple(view.find(*key) for key in transaction.keys)
        changes = await _changes(transaction, documents, head)
        planned = _Planned(transaction, documents, head.epoch, changes)
        if not planned.changing:
            return planned
        conforms = await self._conformance.require(view, planned.changing, deadline=deadline)
        agreed = await self._contracts.require(view, planned.changing, forced=planned.forced, deadline=deadline)
        guard_all(transaction, documents, changes)
        past = await self._told_by_the_past(planned, deadline)
        told = tuple(
            () if change is None else (*change.warnings, *agreed.of_change(change), *warnings)
            for change, warnings in zip(changes, past, strict=True)
        )
        return replace(planned, conforms=conforms, agreed=agreed, told=told)

    async def _told_by_the_past(self, planned: _Planned, deadline: float) -> list[Sequence[Finding]]:
        """What history has to say to each write. Raises TypeReuse, of all that reuse; OutOfTime."""
        told: list[Sequence[Finding]] = []
        refused: list[Refused] = []
        for write, document, change in zip(planned.transaction.writes, planned.documents, planned.changes, strict=True):
            if time.monotonic() > deadline:
                raise OutOfTime
            try:
                told.append(() if change is None else await self._told_of(write, document, change))
            except TypeReuse as error:
                refused.append((write.service, write.environment, error))
        if refused:
            raise refused[0][2] if planned.transaction.is_single else refusal_of_all(refused)
        return told

    async def _told_of(self, write: Write, document: Document | None, change: DocumentChange) -> Sequence[Finding]:
        """What the history of the document has to say to a change of it. Raises TypeReuse."""
        if document is None or change.kind is Kind.SCHEMA:
            return []
        created = key_history.created(change.changes) if write.guards_types else {}
        if created:
            async with self._database.reading() as connection:
                past = await config_log.removals(connection, *document.key, limit=_MOST_REMOVALS)
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
                began = await config_log.began(connection, *document.key)
            if name is not None and began is not None:
                self._began[name] = began
        return began is not None and began > moment

    async def _view(self, connection: AsyncConnection, head: Head) -> View:
        """All documents and schemas as they are at `head`: what this replica has applied, and what was added since."""
        if self._tail.is_loaded:
            snapshot = self._tail.snapshot
            ahead = head.revision - snapshot.revision
            if (snapshot.hub_id, snapshot.epoch) == (head.hub_id, head.epoch) and ahead >= 0:
                later = await config_log.commits_after(connection, snapshot.revision, limit=ahead) if ahead else []
                if later is not None:
                    return View.of(snapshot, later)
        documents, schemas = await configs.all_documents(connection), await configs.all_schemas(connection)
        return View({document.key: document for document in documents}, {schema.key: schema for schema in schemas})

    async def _commit(self, turns: Sequence[_Planned]) -> list[_Settled]:
        # The store may have gone while these waited: whoever is behind a time-out must not wait for one more.
        self._tail.check_writable()
        return await self._database.transaction(lambda connection: self._commit_in(connection, turns))

    async def _commit_in(self, connection: AsyncConnection, turns: Sequence[_Planned]) -> list[_Settled]:
        # From here on one replica at a time, so everything that takes long has been done before.
        await configs.lock(connection)
        answered = await self._answered_before(connection, [turn.transaction for turn in turns])
        head, stored = await configs.stored(connection, [key for turn in turns for key in turn.transaction.keys])
        self._tail.check_history(head)
        view = await self._view(connection, head)
        deadline = time.monotonic() + _CHECKED_IN_TURN_SECONDS
        revision = head.revision
        results: list[_Settled | _Planned] = []
        for turn in turns:
            try:
                if (before := answered.get(turn.transaction.retry)) is not None:
                    results.append(_Done(same_answer(turn.transaction.retry, before)))
                    continue
                planned = turn
                if not turn.still_holds(head, stored):
                    planned = await self._plan(turn.transaction, head, view, deadline=deadline)
                elif turn.changing:
                    # Somebody may have changed another layer, or the schema, since this was planned.
                    await self._conformance.require(view, turn.changing, known=turn.conforms, deadline=deadline)
                    await self._contracts.require(
                        view, turn.changing, forced=turn.forced, known=turn.agreed.inputs, deadline=deadline
                    )
                results.append(planned)
            except HubError as refusal:
                results.append(refusal)
                continue
            except OutOfTime:
                results.append(_Overtaken())
                continue
            if planned.changing:
                revision += 1
                view = view.after(planned.changing, revision)
        return await self._save(connection, head, stored, results)

    async def _save(
        self,
        connection: AsyncConnection,
        head: Head,
        stored: Mapping[Key, Stored],
        results: Sequence[_Settled | _Planned],
    ) -> list[_Settled]:
        changing = [result for result in results if isinstance(result, _Planned) and result.changing]
        now = _milliseconds(self._clock())
        commits = iter(await configs.save(connection, head, [_draft(turn, now) for turn in changing]))
        done: list[_Settled] = []
        to_remember: list[Remembered] = []
        for result in results:
            if not isinstance(result, _Planned):
                done.append(result)
                continue
            transaction = result.transaction
            commit = next(commits) if result.changing else None
            if commit is not None:
                head = replace(head, revision=commit.revision, audit_head=commit.audit_head)
            if transaction.managed_by is not None:
                await configs.mark(connection, transaction.keys, transaction.managed_by)
            outcome = outcome_of(transaction, result.results(commit, stored), head, common=result.agreed.warnings)
            saved = _Done(outcome, commit)
            done.append(saved)
            to_remember += _remembered(transaction.retry, saved)
        await idempotency.remember(connection, to_remember, at=now)
        return done

    async def _answered_before(
        self, connection: AsyncConnection, transactions: Iterable[Transaction]
    ) -> dict[Retry | None, Remembered]:
        """By Retry, the answers that were given to the same key of the same token."""
        retries = [asked.retry for asked in transactions if asked.retry is not None and not asked.dry_run]
        found = await idempotency.find(connection, [(retry.token_id, retry.key) for retry in retries])
        return {retry: found[name] for retry in retries if (name := (retry.token_id, retry.key)) in found}


def _remembered(retry: Retry | None, done: _Done) -> list[Remembered]:
    if retry is None:
        return []
    revision = None if done.commit is None else done.commit.revision
    answer = json.dumps(done.outcome.answer)
    return [Remembered(retry.token_id, retry.key, retry.request_hash, answer, done.outcome.etag, revision)]


def _draft(turn: _Planned, now: datetime) -> Draft:
    return Draft(
        changes=turn.changing,
        salts=tuple(secrets.token_bytes(16) for _ in turn.changing),
        changed_at=now,
        changed_by=turn.transaction.author,
    )


async def _changes(
    transaction: Transaction, documents: Sequence[Document | None], head: Head
) -> tuple[DocumentChange | None, ...]:
    # The checks look at every value. For large documents that is done in a thread, so that nobody else waits for it.
    if transaction.size_bytes < _LARGE_BYTES:
        return plan_all(transaction, documents, head)
    return await asyncio.to_thread(plan_all, transaction, documents, head)


async def _untouched(
    connection: AsyncConnection, document: Document, altered: Sequence[str], since: datetime
) -> list[str]:
    """Those of the keys that nobody has altered since. None where that is not told by the newest entries."""
    blame = Blame(altered)
    entries = await config_log.changes_before(
        connection, *document.key, before=document.revision + 1, limit=_LOOKED_BACK
    )
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
