"""What the audit log tells of documents and schemas: commits to follow, histories, and how things were. Only read.

The caller owns the transaction.
"""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.config_values import (
    Action,
    Commit,
    Key,
    Kind,
    LogEntry,
    LogFilter,
    LoggedChange,
    document_of,
    from_text,
)
from central_hub.storage.tables import config_audit_log as log


async def commits_after(connection: AsyncConnection, revision: int, *, limit: int) -> list[Commit] | None:
    """The commits after `revision`, oldest first, whole. None where a content needed was redacted: load anew."""
    rows = (await connection.execute(_LOG_AFTER, {"revision": revision, "limit": limit})).all()
    if any(row.content is None for row in rows):
        return None
    commits: list[Commit] = []
    for row in rows:
        document = document_of(row)
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


# Keys go with a removal, and with an object that something else takes the place of.
_REMOVALS: Final = sa.text("""
SELECT c.changes FROM config_audit_log l JOIN config_contents c USING (revision, ordinal)
WHERE l.service = :service AND l.environment = :environment AND l.action <> 'schema'
  AND (c.changes LIKE '%"op":"remove"%' OR c.changes LIKE '%"old":{%')
ORDER BY l.revision DESC LIMIT :limit
""")


# Whole commits only: the limit counts revisions, so that a commit of several documents is never cut.
_LOG_AFTER: Final = sa.text("""
SELECT l.revision, l.ordinal, l.epoch, l.service, l.environment, l.action, l.version, l.changed_at, l.changed_by,
       l.entry_hash, c.content,
       (SELECT max(p.revision) FROM config_audit_log p
        WHERE p.service = l.service AND p.environment = l.environment AND p.revision < l.revision
          AND (p.action = 'schema') = (l.action = 'schema')) AS previous_revision
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
