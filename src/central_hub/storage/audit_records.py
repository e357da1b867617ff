"""The audit log as it is verified, and what its owner may take out of it. The caller owns the transaction."""

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.audit.chain import Entry, Record
from central_hub.storage.tables import config_audit_log as log
from central_hub.storage.tables import config_contents as contents


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
