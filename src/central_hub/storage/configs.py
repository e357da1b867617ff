"""The rows of documents and of the schemas they are held against. The caller owns the transaction.

A schema is kept like a document: it has a revision, a history, and its place in the audit log under the same name, told
apart by the action.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.audit.chain import Entry, Record, salted_hash
from central_hub.storage.config_values import (
    Commit,
    Document,
    DocumentChange,
    Draft,
    Head,
    Key,
    Kind,
    Listed,
    Stored,
    document_of,
    from_text,
    to_text,
)
from central_hub.storage.tables import config_audit_log as log
from central_hub.storage.tables import hub_state
from central_hub.storage.tables import service_configs as documents
from central_hub.storage.tables import service_schemas as schemas

RAISE_EPOCH: Final = "UPDATE hub_state SET epoch = epoch + 1"
"""What makes a store that lost history the right one, for the owner of the tables to carry out."""


_COMMIT_LOCK: Final = 0x63_68_75_62_01


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
    return None if row is None else document_of(row)


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
    return [document_of(row) for row in await connection.execute(sa.select(documents))]


async def all_schemas(connection: AsyncConnection) -> list[Document]:
    """Every schema, and what is left of those that were withdrawn."""
    return [document_of(row) for row in await connection.execute(sa.select(schemas))]


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


_TABLES: Final = {Kind.DOCUMENT: documents, Kind.SCHEMA: schemas}


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
