"""The JSON Schemas of the settings models that builds of services run. The caller owns the transaction."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.instances import OLDEST_OPEN_TRANSACTION
from central_hub.storage.tables import consumer_schemas as schemas

ConsumerKey = tuple[str, str, str, str]
"""Service, environment, build, hash of the schema."""


@dataclass(frozen=True, slots=True)
class ConsumerSchema:
    """The schema of one build of a service. Two that share a build's name and differ in their hash both count.

    `build` is empty for instances that name none.
    """

    service: str
    environment: str
    build: str
    schema_hash: str
    first_seen_at: datetime
    last_seen_at: datetime
    pinned_at: datetime | None
    retired_at: datetime | None

    @property
    def key(self) -> ConsumerKey:
        return self.service, self.environment, self.build, self.schema_hash


async def record(
    connection: AsyncConnection,
    service: str,
    environment: str,
    build: str,
    *,
    schema_hash: str,
    content: str | None,
    at: datetime,
) -> bool:
    """Keep that a build runs this schema. Without the content, only where the service's is known by its hash."""
    result = await connection.execute(
        _RECORD,
        {
            "service": service,
            "environment": environment,
            "build": build,
            "schema_hash": schema_hash,
            "content": content,
            "at": at,
        },
    )
    return result.one_or_none() is not None


async def changed_since(connection: AsyncConnection, position: int) -> tuple[list[ConsumerSchema], int]:
    """What changed since an earlier call, and the `position` for the next one; 0 reads everything.

    As of instances, a position is the oldest transaction that had not ended: some rows come twice, none is missed. The
    caller's transaction must see one moment.
    """
    upcoming = await connection.scalar(OLDEST_OPEN_TRANSACTION)
    rows = await connection.execute(_KNOWN.where(schemas.c.changed_in >= position))
    return [ConsumerSchema(**row._mapping) for row in rows], int(upcoming or 0)


async def contents(connection: AsyncConnection, hashes: Collection[str]) -> dict[str, str]:
    """By hash, the JSON text of schemas."""
    rows = await connection.execute(
        sa.select(schemas.c.schema_hash, sa.func.min(schemas.c.content).label("content"))
        .where(schemas.c.schema_hash.in_(list(hashes)))
        .group_by(schemas.c.schema_hash)
    )
    return {row.schema_hash: row.content for row in rows}


async def local_keys(connection: AsyncConnection, service: str) -> dict[ConsumerKey, list[tuple[str, ...]]]:
    """What instances of a service, also those that are gone, told last that they supply by themselves."""
    rows = await connection.execute(_LOCAL_KEYS, {"service": service})
    found: dict[ConsumerKey, list[tuple[str, ...]]] = {}
    for row in rows:
        keys = tuple(json.loads(row.report).get("local_keys", ()))
        found.setdefault((service, row.environment, row.build, row.schema_hash), []).append(keys)
    return found


async def pin(
    connection: AsyncConnection, service: str, environment: str, builds: Sequence[str], *, at: datetime
) -> list[str]:
    """Pin the schemas of these builds in the place of all that were pinned. Returns the builds that have a schema."""
    rows = await connection.execute(
        _PIN, {"service": service, "environment": environment, "builds": list(builds), "at": at}
    )
    return sorted({row.build for row in rows if row.pinned_at is not None})


async def retire(
    connection: AsyncConnection, service: str, environment: str, build: str, *, schema_hash: str | None, at: datetime
) -> int:
    """Let the schemas of a build, or one of them, count no more. Returns how many."""
    rows = await connection.execute(
        _RETIRE,
        {"service": service, "environment": environment, "build": build, "schema_hash": schema_hash, "at": at},
    )
    return len(rows.all())


async def keep_seen(connection: AsyncConnection) -> None:
    """Note that the schemas of instances that still send heartbeats are still in use."""
    await connection.execute(_KEEP_SEEN)


_RECORD: Final = sa.text("""
INSERT INTO consumer_schemas
    (service, environment, build, schema_hash, content, first_seen_at, last_seen_at, changed_in)
SELECT CAST(:service AS text), CAST(:environment AS text), CAST(:build AS text), CAST(:schema_hash AS text), content,
       CAST(:at AS timestamptz), CAST(:at AS timestamptz), CAST(CAST(pg_current_xact_id() AS text) AS bigint)
FROM (
    (SELECT CAST(:content AS text) AS content)
    UNION ALL
    (SELECT content FROM consumer_schemas WHERE service = :service AND schema_hash = :schema_hash LIMIT 1)
) AS known
WHERE content IS NOT NULL
LIMIT 1
ON CONFLICT (service, environment, build, schema_hash)
DO UPDATE SET last_seen_at = GREATEST(consumer_schemas.last_seen_at, excluded.last_seen_at), retired_at = NULL,
    changed_in = excluded.changed_in
RETURNING build
""")

_PIN: Final = sa.text("""
UPDATE consumer_schemas SET
    pinned_at = CASE WHEN build = ANY(CAST(:builds AS text[])) THEN CAST(:at AS timestamptz) END,
    retired_at = CASE WHEN build = ANY(CAST(:builds AS text[])) THEN NULL ELSE retired_at END,
    changed_in = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
WHERE service = :service AND environment = :environment
  AND (pinned_at IS NOT NULL OR build = ANY(CAST(:builds AS text[])))
RETURNING build, pinned_at
""").bindparams(sa.bindparam("builds", type_=sa.ARRAY(sa.Text)))

_RETIRE: Final = sa.text("""
UPDATE consumer_schemas SET retired_at = CAST(:at AS timestamptz), pinned_at = NULL,
    changed_in = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
WHERE service = :service AND environment = :environment AND build = :build
  AND (CAST(:schema_hash AS text) IS NULL OR schema_hash = :schema_hash)
RETURNING schema_hash
""")

_KNOWN: Final = sa.select(*(column for column in schemas.c if column.name not in ("content", "changed_in")))

# Who registered and has said nothing of its keys yet does not say that it supplies none.
_LOCAL_KEYS: Final = sa.text("""
SELECT environment, COALESCE(build, '') AS build, schema_hash, report
FROM instances WHERE service = :service AND schema_hash IS NOT NULL AND report <> '{}'
""")

_KEEP_SEEN: Final = sa.text("""
UPDATE consumer_schemas SET last_seen_at = used.seen_at,
    changed_in = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
FROM (
    SELECT service, environment, COALESCE(build, '') AS build, schema_hash, max(seen_at) AS seen_at
    FROM instances WHERE schema_hash IS NOT NULL GROUP BY 1, 2, 3, 4
) AS used
WHERE (consumer_schemas.service, consumer_schemas.environment, consumer_schemas.build, consumer_schemas.schema_hash)
    = (used.service, used.environment, used.build, used.schema_hash)
  AND consumer_schemas.last_seen_at < used.seen_at
""")
