"""The JSON Schemas of the settings models that builds of services run. The caller owns the transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import consumer_schemas as schemas


@dataclass(frozen=True, slots=True)
class ConsumerSchema:
    """The schema of one build of a service. Two that share a build's name and differ in their hash both count.

    `content` is JSON text; `build` is empty for instances that name none.
    """

    service: str
    environment: str
    build: str
    schema_hash: str
    content: str
    first_seen_at: datetime
    last_seen_at: datetime


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


async def seen_since(connection: AsyncConnection, service: str, moment: datetime) -> list[ConsumerSchema]:
    """The schemas of a service that instances ran since then, in every environment."""
    rows = await connection.execute(
        sa.select(schemas)
        .where(schemas.c.service == service, schemas.c.last_seen_at >= moment)
        .order_by(schemas.c.environment, schemas.c.first_seen_at, schemas.c.build, schemas.c.schema_hash)
    )
    return [ConsumerSchema(**row._mapping) for row in rows]


async def keep_seen(connection: AsyncConnection) -> None:
    """Note that the schemas of instances that still send heartbeats are still in use."""
    await connection.execute(_KEEP_SEEN)


_RECORD: Final = sa.text("""
INSERT INTO consumer_schemas (service, environment, build, schema_hash, content, first_seen_at, last_seen_at)
SELECT CAST(:service AS text), CAST(:environment AS text), CAST(:build AS text), CAST(:schema_hash AS text), content,
       CAST(:at AS timestamptz), CAST(:at AS timestamptz)
FROM (
    (SELECT CAST(:content AS text) AS content)
    UNION ALL
    (SELECT content FROM consumer_schemas WHERE service = :service AND schema_hash = :schema_hash LIMIT 1)
) AS known
WHERE content IS NOT NULL
LIMIT 1
ON CONFLICT (service, environment, build, schema_hash)
DO UPDATE SET last_seen_at = GREATEST(consumer_schemas.last_seen_at, excluded.last_seen_at)
RETURNING build
""")

_KEEP_SEEN: Final = sa.text("""
UPDATE consumer_schemas SET last_seen_at = used.seen_at
FROM (
    SELECT service, environment, COALESCE(build, '') AS build, schema_hash, max(seen_at) AS seen_at
    FROM instances WHERE schema_hash IS NOT NULL GROUP BY 1, 2, 3, 4
) AS used
WHERE (consumer_schemas.service, consumer_schemas.environment, consumer_schemas.build, consumer_schemas.schema_hash)
    = (used.service, used.environment, used.build, used.schema_hash)
  AND consumer_schemas.last_seen_at < used.seen_at
""")
