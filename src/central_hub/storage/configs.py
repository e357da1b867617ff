"""All rows of documents, of the schemas they are held against, and of their audit log. The caller owns the transaction.

A schema is kept like a document: it has a revision, a history, and its place in the audit log under the same name, told
apart by the action.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.audit.chain import Entry, Record, salted_hash
from central_hub.errors import Finding
from central_hub.storage.tables import config_audit_log as log
from central_hub.storage.tables import config_contents as contents
from central_hub.storage.tables import hub_state
from central_hub.storage.tables import service_configs as documents
from central_hub.storage.tables import service_schemas as schemas
from central_hub_client.wire import Position

RAISE_EPOCH: Final = "UPDATE hub_state SET epoch = epoch + 1"
"""What makes a store that lost history the right one, for the owner of the tables to carry out."""
_COMMIT_LOCK: Final = 0x63_68_75_62_01

Key = tuple["Kind", str, str]
"""What a document or schema is found by: its kind, its service, its environment."""


class Kind(StrEnum):
    """What bears the name of a service and an environment."""

    DOCUMENT = "document"
    SCHEMA = "schema"


class Action(StrEnum):
    """What a commit did to a document, or that it changed a schema."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    ROLLBACK = "rollback"
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it stands. `config` is None for a tombstone: deleted, its history kept.

    Of a schema, `config` is the schema, and `version` the hash of its content.
    """

    service: str
    environment: str
    config: dict[str, Any] | None
    version: str
    revision: int
    previous_revision: int | None
    changed_at: datetime
    changed_by: str

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.environment


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends: the last commit's position, and the hash that the next audit row links to."""

    hub_id: str
    epoch: int
    revision: int
    audit_head: str
    tokens_version: int

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.revision)


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One document's or schema's part of a commit, before it has a revision. `config` None deletes."""

    service: str
    environment: str
    config: dict[str, Any] | None
    action: Action
    version: str
    changes: list[dict[str, Any]]
    previous_revision: int | None
    reason: str | None = None
    warnings: tuple[Finding, ...] = ()
    """Not stored: for whoever makes the change."""

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.environment

    @property
    def kind(self) -> Kind:
        return Kind.SCHEMA if self.action is Action.SCHEMA else Kind.DOCUMENT


@dataclass(frozen=True, slots=True)
class Draft:
    """A commit before it has a revision. One salt for each change: 16 random bytes."""

    changes: tuple[DocumentChange, ...]
    salts: tuple[bytes, ...]
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What one revision changed, as the log tells it."""

    epoch: int
    revision: int
    audit_head: str
    documents: tuple[Document, ...]
    schemas: tuple[Document, ...] = ()

    def find(self, kind: Kind, service: str, environment: str) -> Document | None:
        """What it made of a document or schema; None where it did not touch it."""
        changed = self.documents if kind is Kind.DOCUMENT else self.schemas
        return next((document for document in changed if document.key == (service, environment)), None)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a writer must know of the document that there is."""

    revision: int
    managed_by: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A live document or schema in a list of all. `config` is None where the content was not asked for."""

    kind: Kind
    service: str
    environment: str
    version: str
    revision: int
    changed_at: datetime
    changed_by: str
    managed_by: str | None
    config: dict[str, Any] | None

    @property
    def key(self) -> Key:
        return self.kind, self.service, self.environment


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of a document's history. `config` and `changes` are None where the content was redacted."""

    epoch: int
    revision: int
    service: str
    environment: str
    action: str
    version: str
    changed_at: datetime
    changed_by: str
    reason: str | None
    config: dict[str, Any] | None
    changes: list[dict[str, Any]] | None
    redacted: bool


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """What a commit did to a document, without its content. `places` are the JSON Pointers of its changes, None where
    they were redacted."""

    epoch: int
    revision: int
    changed_at: datetime
    changed_by: str
    reason: str | None
    places: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which entries of the whole log are wanted; what is None is not looked at. `text` is looked for in reasons."""

    changed_by: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def head(connection: AsyncConnection) -> Head:
    """Where the log ends now."""
    return _head((await connection.execute(_HEAD)).one())


async def head_and_hash_at(connection: AsyncConnection, revision: int) -> tuple[Head, str | None]:
    """Where the log ends now, and the hash that it had come to with `revision`; None where it has no such revision."""
    row = (await connection.execute(_HEAD_AND_HASH, {"revision": revision})).one()
    return _head(row), row.hash_at


async def lock(connection: AsyncConnection) -> None:
    """Wait for the turn to commit. Held until the end of the transaction; whatever is read after it is the latest.

    The lock makes waiting writers take turns (without it the tail of the waiting times is seven times longer); the
    counter, taken under it, makes revisions gap-free.
    """
    await connection.execute(_LOCK, {"key": _COMMIT_LOCK})


async def get(
    connection: AsyncConnection, service: str, environment: str, kind: Kind = Kind.DOCUMENT
) -> Document | None:
    """The document or schema, its tombstone, or None where there never was one."""
    query = _GET if kind is Kind.DOCUMENT else _GET_SCHEMA
    row = (await connection.execute(query, {"service": service, "environment": environment})).one_or_none()
    return None if row is None else _document(row)


async def stored(connection: AsyncConnection, keys: Sequence[Key]) -> tuple[Head, dict[Key, Stored]]:
    """Where the log ends, and what a writer with the lock must know of documents and schemas."""
    services, environments = [service for _, service, _ in keys], [environment for _, _, environment in keys]
    has_schemas = any(kind is Kind.SCHEMA for kind, _, _ in keys)
    query = _HEAD_AND_ALL_REVISIONS if has_schemas else _HEAD_AND_REVISIONS
    rows = (await connection.execute(query, {"services": services, "environments": environments})).all()
    found = {
        (Kind(row.kind), row.service, row.environment): Stored(row.document_revision, row.managed_by)
        for row in rows
        if row.service is not None
    }
    return _head(rows[0]), found


async def all_documents(connection: AsyncConnection) -> list[Document]:
    """Every document and tombstone."""
    return [_document(row) for row in await connection.execute(sa.select(documents))]


async def all_schemas(connection: AsyncConnection) -> list[Document]:
    """Every schema, and what is left of those that were withdrawn."""
    return [_document(row) for row in await connection.execute(sa.select(schemas))]


async def save(connection: AsyncConnection, current: Head, drafts: Sequence[Draft]) -> list[Commit]:
    """Write documents, schemas, audit rows and the counter in one statement: a revision for each draft, from `current`.

    No document and no schema may be in two drafts. The caller holds the lock and has read `current` under it.
    """
    if not drafts:
        return []
    commits: list[Commit] = []
    rows: list[tuple[DocumentChange, Record]] = []
    audit_head = current.audit_head
    for revision, draft in enumerate(drafts, current.revision + 1):
        for ordinal, (change, salt) in enumerate(zip(draft.changes, draft.salts, strict=True)):
            record = _record(current.epoch, revision, ordinal, draft, change, salt, audit_head)
            audit_head = record.entry_hash
            rows.append((change, record))
        commits.append(
            Commit(
                current.epoch,
                revision,
                audit_head,
                documents=_changed(draft, revision, Kind.DOCUMENT),
                schemas=_changed(draft, revision, Kind.SCHEMA),
            )
        )
    entries = [record.entry for _, record in rows]
    await connection.execute(
        _SAVE,
        {
            "epoch": current.epoch,
            "last_revision": current.revision + len(drafts),
            "audit_head": audit_head,
            "revisions": [entry.revision for entry in entries],
            "ordinals": [entry.ordinal for entry in entries],
            "services": [entry.service for entry in entries],
            "environments": [entry.environment for entry in entries],
            "actions": [str(entry.action) for entry in entries],
            "versions": [entry.version for entry in entries],
            "changed_ats": [entry.changed_at for entry in entries],
            "changed_bys": [entry.changed_by for entry in entries],
            "reasons": [entry.reason for entry in entries],
            "content_hashes": [entry.content_hash for entry in entries],
            "previous_hashes": [entry.previous_hash for entry in entries],
            "entry_hashes": [record.entry_hash for _, record in rows],
            "salts": [record.salt for _, record in rows],
            "contents": [record.content for _, record in rows],
            "changes": [to_text(change.changes) for change, _ in rows],
            "previous_revisions": [change.previous_revision for change, _ in rows],
        },
    )
    return commits


async def mark(connection: AsyncConnection, keys: Sequence[Key], managed_by: str) -> None:
    """Say who looks after documents and schemas that there are. This is about them, not part of them: no revision."""
    for kind, table in _TABLES.items():
        names = [(service, environment) for key_kind, service, environment in keys if key_kind is kind]
        if names:
            named = sa.tuple_(table.c.service, table.c.environment).in_(names)
            there = sa.and_(named, table.c.content.is_not(None))
            await connection.execute(sa.update(table).where(there).values(managed_by=managed_by))


async def listing(
    connection: AsyncConnection,
    *,
    services: Sequence[str] | None,
    environments: Sequence[str] | None,
    after: Key | None,
    limit: int,
    max_bytes: int,
    with_content: bool,
) -> tuple[list[Listed], bool]:
    """Live documents, then schemas, in the order of their names, and whether there are more: `limit` of them, or
    fewer where they come to `max_bytes`. None stands for all services, or all environments."""
    kind, service, environment = after or ("", "", "")
    result = await connection.execute(
        _LISTING,
        {
            "services": services,
            "environments": environments,
            "kind": str(kind),
            "service": service,
            "environment": environment,
            "limit": limit + 1,
            "max_bytes": max_bytes,
            "with_content": with_content,
        },
    )
    rows = result.all()
    listed = [
        Listed(
            kind=Kind(row.kind),
            service=row.service,
            environment=row.environment,
            version=row.version,
            revision=row.revision,
            changed_at=row.changed_at,
            changed_by=row.changed_by,
            managed_by=row.managed_by,
            config=from_text(row.content),
        )
        for row in rows[:limit]
    ]
    return listed, bool(rows) and rows[0].found > len(listed)


async def commits_after(connection: AsyncConnection, revision: int, *, limit: int) -> list[Commit] | None:
    """The commits after `revision`, oldest first, whole. None where a content needed was redacted: load anew."""
    rows = (await connection.execute(_LOG_AFTER, {"revision": revision, "limit": limit})).all()
    if any(row.content is None for row in rows):
        return None
    commits: list[Commit] = []
    for row in rows:
        document = Document(
            service=row.service,
            environment=row.environment,
            config=from_text(row.content),
            version=row.version,
            revision=row.revision,
            previous_revision=row.document_previous,
            changed_at=row.changed_at,
            changed_by=row.changed_by,
        )
        before = commits.pop() if commits and commits[-1].revision == row.revision else None
        documents, schemas = ((), ()) if before is None else (before.documents, before.schemas)
        if row.action == Action.SCHEMA:
            schemas = (*schemas, document)
        else:
            documents = (*documents, document)
        commits.append(Commit(row.epoch, row.revision, row.entry_hash, documents, schemas))
    return commits


async def history(
    connection: AsyncConnection, service: str, environment: str, *, before: int | None, limit: int, max_bytes: int
) -> tuple[list[LogEntry], bool]:
    """The newest entries of a document and its schema, and whether there are more: `limit`, or `max_bytes` of it.

    A page may hold one more: a commit that changed both is never cut.
    """
    sizes = (
        await connection.execute(
            _HISTORY_SIZES,
            {"service": service, "environment": environment, "before": before, "limit": limit + 2},
        )
    ).all()
    take, size = 0, 0
    for row in sizes[:limit]:
        size += row.size
        if take and size > max_bytes:
            break
        take += 1
    if take == 0:
        return [], False
    if sizes[take - 1].revision == sizes[min(take, len(sizes) - 1)].revision:
        take = min(take + 1, len(sizes))
    rows = await connection.execute(
        _HISTORY,
        {"service": service, "environment": environment, "before": before, "limit": take, "is_schema": None},
    )
    return [_log_entry(row) for row in rows], len(sizes) > take


async def as_of(
    connection: AsyncConnection, service: str, environment: str, revision: int, kind: Kind = Kind.DOCUMENT
) -> LogEntry | None:
    """The entry that was a document's or schema's latest when `revision` was the last commit."""
    row = (
        await connection.execute(
            _HISTORY,
            {
                "service": service,
                "environment": environment,
                "before": revision + 1,
                "limit": 1,
                "is_schema": kind is Kind.SCHEMA,
            },
        )
    ).one_or_none()
    return None if row is None else _log_entry(row)


async def changed_in(connection: AsyncConnection, revision: int) -> list[Key]:
    """The documents and schemas that a commit changed, in its order."""
    query = sa.select(log.c.action, log.c.service, log.c.environment).where(log.c.revision == revision)
    return [
        (Kind.SCHEMA if row.action == Action.SCHEMA else Kind.DOCUMENT, row.service, row.environment)
        for row in await connection.execute(query.order_by(log.c.ordinal))
    ]


async def changes_before(
    connection: AsyncConnection, service: str, environment: str, *, before: int, limit: int
) -> list[LoggedChange]:
    """What happened to a document before a revision, newest first."""
    rows = await connection.execute(
        _CHANGES, {"service": service, "environment": environment, "before": before, "limit": limit}
    )
    return [
        LoggedChange(
            row.epoch,
            row.revision,
            row.changed_at,
            row.changed_by,
            row.reason,
            None if row.changes is None else tuple(change["path"] for change in json.loads(row.changes)),
        )
        for row in rows
    ]


async def removals(
    connection: AsyncConnection, service: str, environment: str, *, limit: int
) -> list[list[dict[str, Any]]]:
    """The newest change lists of a document by which keys went, newest first; redacted ones are left out."""
    rows = await connection.execute(_REMOVALS, {"service": service, "environment": environment, "limit": limit})
    return [json.loads(row.changes) for row in rows]


async def began(connection: AsyncConnection, service: str, environment: str) -> datetime | None:
    """When the history of a document begins."""
    query = sa.select(sa.func.min(log.c.changed_at)).where(log.c.service == service, log.c.environment == environment)
    found: datetime | None = await connection.scalar(query)
    return found


async def log_before(
    connection: AsyncConnection, wanted: LogFilter, *, before: int | None, limit: int
) -> list[LogEntry]:
    """The newest entries of all documents before a revision, without their contents, whole commits only."""
    rows = await connection.execute(_LOG_BEFORE, asdict(wanted) | {"before": before, "limit": limit})
    return [_log_entry(row) for row in rows]


async def revision_at(connection: AsyncConnection, moment: datetime) -> int:
    """The last revision at a time; 0 before the first."""
    query = sa.select(sa.func.coalesce(sa.func.max(log.c.revision), 0)).where(log.c.changed_at <= moment)
    return int(await connection.scalar(query) or 0)


async def epoch_of(connection: AsyncConnection, revision: int) -> int | None:
    """The epoch in which a revision was committed; None for a revision that does not exist."""
    query = sa.select(log.c.epoch).where(log.c.revision == revision, log.c.ordinal == 0)
    found: int | None = await connection.scalar(query)
    return found


async def audit_records(
    connection: AsyncConnection, *, after: tuple[int, int], limit: int, max_bytes: int
) -> list[Record]:
    """The audit log as it is stored, in order, after (revision, ordinal): `limit`, or `max_bytes` of content."""
    rows = await connection.execute(
        _AUDIT_RECORDS, {"revision": after[0], "ordinal": after[1], "limit": limit, "max_bytes": max_bytes}
    )
    return [
        Record(
            entry=Entry(
                epoch=row.epoch,
                revision=row.revision,
                ordinal=row.ordinal,
                service=row.service,
                environment=row.environment,
                action=row.action,
                version=row.version,
                changed_at=row.changed_at,
                changed_by=row.changed_by,
                reason=row.reason,
                content_hash=row.content_hash,
                previous_hash=row.previous_hash,
            ),
            entry_hash=row.entry_hash,
            salt=row.salt,
            content=row.content,
            redacted=row.redacted,
        )
        for row in rows
    ]


async def documents_that_differ_from_the_log(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Documents that are not, or whose schema is not, what the last audit row says: somebody wrote around the log."""
    rows = await connection.execute(_DIFFERING)
    return [(row.service, row.environment) for row in rows]


async def redact(
    connection: AsyncConnection, service: str, environment: str, revision: int, *, by: str, at: datetime, reason: str
) -> bool:
    """Remove a content from the history (as the owner of the tables). False where there is no such entry.

    The change list of the following entry of the same document goes too: it quotes the old values.
    """
    key = {"service": service, "environment": environment, "revision": revision}
    found = (
        await connection.execute(
            sa.select(log.c.revision, log.c.ordinal).where(
                log.c.service == service, log.c.environment == environment, log.c.revision == revision
            )
        )
    ).all()
    # Two where one commit changed the document and its schema.
    for entry in found:
        await connection.execute(
            sa.update(contents)
            .where(contents.c.revision == entry.revision, contents.c.ordinal == entry.ordinal)
            .values(salt=None, content=None, changes=None)
        )
        await connection.execute(
            sa.text(
                "INSERT INTO redactions (revision, ordinal, redacted_at, redacted_by, reason)"
                " VALUES (:revision, :ordinal, :at, :by, :reason) ON CONFLICT DO NOTHING"
            ),
            {"revision": entry.revision, "ordinal": entry.ordinal, "at": at, "by": by, "reason": reason},
        )
    if found:
        await connection.execute(_FORGET_NEXT_CHANGES, key)
        await connection.execute(_FORGET_RESPONSES, key)
    return bool(found)


def to_text(value: Any) -> str:
    """JSON as it is stored: the order of keys and the spelling of numbers kept."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_text(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _record(
    epoch: int, revision: int, ordinal: int, draft: Draft, change: DocumentChange, salt: bytes, previous_hash: str
) -> Record:
    content = to_text(change.config)
    entry = Entry(
        epoch=epoch,
        revision=revision,
        ordinal=ordinal,
        service=change.service,
        environment=change.environment,
        action=change.action,
        version=change.version,
        changed_at=draft.changed_at,
        changed_by=draft.changed_by,
        reason=change.reason,
        content_hash=salted_hash(salt, content),
        previous_hash=previous_hash,
    )
    return Record(entry, entry.hash, salt, content, redacted=False)


def _changed(draft: Draft, revision: int, kind: Kind) -> tuple[Document, ...]:
    return tuple(
        Document(
            service=change.service,
            environment=change.environment,
            config=change.config,
            version=change.version,
            revision=revision,
            previous_revision=change.previous_revision,
            changed_at=draft.changed_at,
            changed_by=draft.changed_by,
        )
        for change in draft.changes
        if change.kind is kind
    )


def _head(row: Any) -> Head:
    return Head(row.hub_id, row.epoch, row.revision, row.audit_head, row.tokens_version)


def _document(row: Any) -> Document:
    return Document(
        service=row.service,
        environment=row.environment,
        config=from_text(row.content),
        version=row.version,
        revision=row.revision,
        previous_revision=row.previous_revision,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


def _log_entry(row: Any) -> LogEntry:
    return LogEntry(
        epoch=row.epoch,
        revision=row.revision,
        service=row.service,
        environment=row.environment,
        action=row.action,
        version=row.version,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
        reason=row.reason,
        config=from_text(row.content),
        changes=from_text(row.changes),
        redacted=row.content is None,
    )


_TABLES: Final = {Kind.DOCUMENT: documents, Kind.SCHEMA: schemas}
# Keys go with a removal, and with an object that something else takes the place of.
_REMOVALS: Final = sa.text("""
SELECT c.changes FROM config_audit_log l JOIN config_contents c USING (revision, ordinal)
WHERE l.service = :service AND l.environment = :environment AND l.action <> 'schema'
  AND (c.changes LIKE '%"op":"remove"%' OR c.changes LIKE '%"old":{%')
ORDER BY l.revision DESC LIMIT :limit
""")

_HEAD: Final = sa.select(hub_state)
_LOCK: Final = sa.text("SELECT pg_advisory_xact_lock(:key)").columns(sa.Column("pg_advisory_xact_lock", sa.Text))
_GET: Final = sa.select(documents).where(
    documents.c.service == sa.bindparam("service"), documents.c.environment == sa.bindparam("environment")
)
_GET_SCHEMA: Final = sa.select(schemas).where(
    schemas.c.service == sa.bindparam("service"), schemas.c.environment == sa.bindparam("environment")
)
_KEYS: Final = (
    sa.bindparam("services", type_=sa.ARRAY(sa.Text)),
    sa.bindparam("environments", type_=sa.ARRAY(sa.Text)),
)
_HEAD_AND_REVISIONS: Final = sa.text("""
SELECT h.*, 'document' AS kind, d.service, d.environment, d.revision AS document_revision, d.managed_by
FROM hub_state h LEFT JOIN (
    service_configs d JOIN unnest(CAST(:services AS text[]), CAST(:environments AS text[])) AS k (service, environment)
    USING (service, environment)
) ON true
""").bindparams(*_KEYS)
_HEAD_AND_ALL_REVISIONS: Final = sa.text("""
SELECT h.*, d.kind, d.service, d.environment, d.revision AS document_revision, d.managed_by
FROM hub_state h LEFT JOIN (
    (SELECT 'document' AS kind, service, environment, revision, managed_by FROM service_configs
     UNION ALL SELECT 'schema', service, environment, revision, managed_by FROM service_schemas) d
    JOIN unnest(CAST(:services AS text[]), CAST(:environments AS text[])) AS k (service, environment)
    USING (service, environment)
) ON true
""").bindparams(*_KEYS)

_HEAD_AND_HASH: Final = sa.select(
    hub_state,
    sa.select(log.c.entry_hash)
    .where(log.c.revision == sa.bindparam("revision"))
    .order_by(log.c.ordinal.desc())
    .limit(1)
    .scalar_subquery()
    .label("hash_at"),
)

_SAVE: Final = sa.text("""
WITH counter AS (
    UPDATE hub_state SET revision = :last_revision, audit_head = :audit_head WHERE id = 1
), change AS (
    SELECT * FROM unnest(
        CAST(:revisions AS bigint[]), CAST(:ordinals AS int[]), CAST(:services AS text[]),
        CAST(:environments AS text[]), CAST(:actions AS text[]), CAST(:versions AS text[]),
        CAST(:changed_ats AS timestamptz[]), CAST(:changed_bys AS text[]), CAST(:reasons AS text[]),
        CAST(:content_hashes AS text[]), CAST(:previous_hashes AS text[]), CAST(:entry_hashes AS text[]),
        CAST(:salts AS bytea[]), CAST(:contents AS text[]), CAST(:changes AS text[]),
        CAST(:previous_revisions AS bigint[])
    ) AS c (revision, ordinal, service, environment, action, version, changed_at, changed_by, reason, content_hash,
            previous_hash, entry_hash, salt, content, changes, previous_revision)
), audit AS (
    INSERT INTO config_audit_log (revision, ordinal, epoch, service, environment, action, version, changed_at,
                                  changed_by, reason, content_hash, previous_hash, entry_hash)
    SELECT revision, ordinal, CAST(:epoch AS bigint), service, environment, action, version, changed_at, changed_by,
           reason, content_hash, previous_hash, entry_hash
    FROM change
), content AS (
    INSERT INTO config_contents (revision, ordinal, salt, content, changes)
    SELECT revision, ordinal, salt, content, changes FROM change
), schema AS (
    INSERT INTO service_schemas (service, environment, content, version, revision, previous_revision, changed_at,
                                 changed_by)
    SELECT service, environment, nullif(content, 'null'), version, revision, previous_revision, changed_at, changed_by
    FROM change WHERE action = 'schema'
    ON CONFLICT (service, environment) DO UPDATE
    SET content = excluded.content, version = excluded.version, revision = excluded.revision,
        previous_revision = excluded.previous_revision, changed_at = excluded.changed_at,
        changed_by = excluded.changed_by,
        managed_by = CASE WHEN excluded.content IS NOT NULL THEN service_schemas.managed_by END
)
INSERT INTO service_configs (service, environment, content, version, revision, previous_revision, changed_at,
                             changed_by)
SELECT service, environment, nullif(content, 'null'), version, revision, previous_revision, changed_at, changed_by
FROM change WHERE action <> 'schema'
ON CONFLICT (service, environment) DO UPDATE
SET content = excluded.content, version = excluded.version, revision = excluded.revision,
    previous_revision = excluded.previous_revision, changed_at = excluded.changed_at, changed_by = excluded.changed_by,
    managed_by = CASE WHEN excluded.content IS NOT NULL THEN service_configs.managed_by END
""").bindparams(
    sa.bindparam("last_revision", type_=sa.BigInteger),
    sa.bindparam("ordinals", type_=sa.ARRAY(sa.Integer)),
    *(sa.bindparam(name, type_=sa.ARRAY(sa.BigInteger)) for name in ("revisions", "previous_revisions")),
    *(
        sa.bindparam(name, type_=sa.ARRAY(sa.Text))
        for name in (
            "services environments actions versions changed_bys reasons content_hashes previous_hashes entry_hashes"
            " contents changes"
        ).split()
    ),
    sa.bindparam("changed_ats", type_=sa.ARRAY(sa.TIMESTAMP(timezone=True))),
    sa.bindparam("salts", type_=sa.ARRAY(sa.LargeBinary)),
)

# The order is that of bytes: no rule of a language may differ between two servers.
_LISTING: Final = sa.text("""
SELECT kind, service, environment, version, revision, changed_at, changed_by, managed_by, found,
       CASE WHEN CAST(:with_content AS boolean) THEN content END AS content
FROM (
    SELECT *, count(*) OVER () AS found,
           sum(octet_length(content)) OVER (ORDER BY kind COLLATE "C", service COLLATE "C", environment COLLATE "C")
               - octet_length(content) AS bytes_before
    FROM (
        SELECT * FROM (
            SELECT 'document' AS kind, service, environment, version, revision, changed_at, changed_by, managed_by,
                   content FROM service_configs
            UNION ALL
            SELECT 'schema', service, environment, version, revision, changed_at, changed_by, managed_by,
                   content FROM service_schemas
        ) everything
        WHERE content IS NOT NULL
          AND (kind COLLATE "C", service COLLATE "C", environment COLLATE "C") > (:kind, :service, :environment)
          AND (CAST(:services AS text[]) IS NULL OR service = ANY(CAST(:services AS text[])))
          AND (CAST(:environments AS text[]) IS NULL OR environment = ANY(CAST(:environments AS text[])))
        ORDER BY kind COLLATE "C", service COLLATE "C", environment COLLATE "C" LIMIT :limit
    ) found
) page
WHERE bytes_before < :max_bytes OR NOT CAST(:with_content AS boolean)
ORDER BY kind COLLATE "C", service COLLATE "C", environment COLLATE "C"
""").bindparams(*(sa.bindparam(name, type_=sa.ARRAY(sa.Text)) for name in ("services", "environments")))

# Whole commits only: the limit counts revisions, so that a commit of several documents is never cut.
_LOG_AFTER: Final = sa.text("""
SELECT l.revision, l.ordinal, l.epoch, l.service, l.environment, l.action, l.version, l.changed_at, l.changed_by,
       l.entry_hash, c.content,
       (SELECT max(p.revision) FROM config_audit_log p
        WHERE p.service = l.service AND p.environment = l.environment AND p.revision < l.revision
          AND (p.action = 'schema') = (l.action = 'schema')) AS document_previous
FROM config_audit_log l JOIN config_contents c USING (revision, ordinal)
WHERE l.revision > :revision AND l.revision <= CAST(:revision AS bigint) + :limit
ORDER BY l.revision, l.ordinal
""")

_HISTORY_SIZES: Final = sa.text("""
SELECT l.revision, coalesce(octet_length(c.content), 0) + coalesce(octet_length(c.changes), 0) AS size
FROM config_audit_log l JOIN config_contents c USING (revision, ordinal)
WHERE l.service = :service AND l.environment = :environment
  AND (CAST(:before AS bigint) IS NULL OR l.revision < CAST(:before AS bigint))
ORDER BY l.revision DESC, l.ordinal DESC LIMIT :limit
""")

_HISTORY: Final = sa.text("""
SELECT l.epoch, l.revision, l.service, l.environment, l.action, l.version, l.changed_at, l.changed_by, l.reason,
       c.content, c.changes
FROM config_audit_log l JOIN config_contents c USING (revision, ordinal)
WHERE l.service = :service AND l.environment = :environment
  AND (CAST(:before AS bigint) IS NULL OR l.revision < CAST(:before AS bigint))
  AND (CAST(:is_schema AS boolean) IS NULL OR (l.action = 'schema') = CAST(:is_schema AS boolean))
ORDER BY l.revision DESC, l.ordinal DESC LIMIT :limit
""")

_CHANGES: Final = sa.text("""
SELECT l.epoch, l.revision, l.changed_at, l.changed_by, l.reason, c.changes
FROM config_audit_log l JOIN config_contents c USING (revision, ordinal)
WHERE l.service = :service AND l.environment = :environment AND l.revision < :before AND l.action <> 'schema'
ORDER BY l.revision DESC LIMIT :limit
""")

# A page may hold more than its limit: a commit is never cut.
_LOG_BEFORE: Final = sa.text("""
SELECT l.epoch, l.revision, l.service, l.environment, l.action, l.version, l.changed_at, l.changed_by, l.reason,
       CASE WHEN c.content IS NULL THEN NULL ELSE 'null' END AS content, c.changes
FROM config_audit_log l JOIN config_contents c USING (revision, ordinal)
WHERE l.revision IN (
    SELECT revision FROM config_audit_log
    WHERE (CAST(:before AS bigint) IS NULL OR revision < CAST(:before AS bigint))
      AND (CAST(:changed_by AS text) IS NULL OR changed_by = CAST(:changed_by AS text))
      AND (CAST(:text AS text) IS NULL OR strpos(lower(reason), lower(CAST(:text AS text))) > 0)
      AND (CAST(:since AS timestamptz) IS NULL OR changed_at >= CAST(:since AS timestamptz))
      AND (CAST(:until AS timestamptz) IS NULL OR changed_at <= CAST(:until AS timestamptz))
    ORDER BY revision DESC LIMIT :limit)
ORDER BY l.revision DESC, l.ordinal
""")

# The page ends early where the contents grow large: what came before an entry counts, so that every page has one.
_AUDIT_RECORDS: Final = sa.text("""
SELECT * FROM (
    SELECT l.*, c.salt, c.content, r.revision IS NOT NULL AS redacted,
           sum(coalesce(octet_length(c.content), 0)) OVER (ORDER BY l.revision, l.ordinal)
               - coalesce(octet_length(c.content), 0) AS bytes_before
    FROM (SELECT * FROM config_audit_log WHERE (revision, ordinal) > (:revision, :ordinal)
          ORDER BY revision, ordinal LIMIT :limit) l
    LEFT JOIN config_contents c USING (revision, ordinal)
    LEFT JOIN redactions r USING (revision, ordinal)
) page
WHERE bytes_before < :max_bytes
ORDER BY revision, ordinal
""")

_DIFFERING: Final = sa.text("""
SELECT DISTINCT coalesce(d.service, last.service) AS service, coalesce(d.environment, last.environment) AS environment
FROM (SELECT *, false AS is_schema FROM service_configs UNION ALL SELECT *, true FROM service_schemas) d
FULL JOIN (
    SELECT DISTINCT ON (l.service, l.environment, l.action = 'schema')
           l.service, l.environment, l.action = 'schema' AS is_schema, l.revision, l.version, c.content
    FROM config_audit_log l LEFT JOIN config_contents c USING (revision, ordinal)
    ORDER BY l.service, l.environment, l.action = 'schema', l.revision DESC
) last ON last.service = d.service AND last.environment = d.environment AND last.is_schema = d.is_schema
WHERE d.service IS NULL OR last.service IS NULL OR d.revision <> last.revision OR d.version <> last.version
   OR coalesce(d.content, 'null') IS DISTINCT FROM last.content
""")

_FORGET_NEXT_CHANGES: Final = sa.text("""
UPDATE config_contents c SET changes = NULL
FROM (SELECT DISTINCT ON (action = 'schema') revision, ordinal FROM config_audit_log
      WHERE service = :service AND environment = :environment AND revision > :revision
      ORDER BY action = 'schema', revision) following
WHERE c.revision = following.revision AND c.ordinal = following.ordinal
""")

# A remembered answer quotes the change list; the retry that asks for it still gets an answer, without the values.
_FORGET_RESPONSES: Final = sa.text("""
UPDATE idempotency_keys SET response = CAST(
    CASE WHEN CAST(response AS jsonb) -> 'updates' IS NULL THEN jsonb_set(CAST(response AS jsonb), '{changes}', '[]')
    ELSE jsonb_set(CAST(response AS jsonb), '{updates}', (
        SELECT jsonb_agg(jsonb_set(item, '{changes}', '[]') ORDER BY place)
        FROM jsonb_array_elements(CAST(response AS jsonb) -> 'updates') WITH ORDINALITY AS u (item, place)))
    END AS text)
WHERE revision = :revision OR revision IN (
    SELECT min(revision) FROM config_audit_log
    WHERE service = :service AND environment = :environment AND revision > :revision
    GROUP BY action = 'schema')
""")
