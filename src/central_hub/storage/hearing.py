"""Since when the fleet is heard: heartbeats that nobody could take count against no lease. The caller owns the
transaction."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import hearing

LONGEST_PAUSE: Final = timedelta(seconds=3)
"""Between two replicas that say that they listen, or two turns of one. After a longer one leases begin anew."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The store's time, and, where nobody listened until then, since when."""

    now: datetime
    deaf_since: datetime | None


async def hear(connection: AsyncConnection) -> Heard:
    """Say that this replica listens. Where none did for longer than `LONGEST_PAUSE`, the leases that had not run out by
    then begin anew; so they do where the store's clock was set, in either direction."""
    before = (await connection.execute(sa.select(hearing.c.heard_at).with_for_update())).scalar()
    now = (await connection.execute(_HEAR)).scalar_one()
    if before is None or abs(now - before) <= LONGEST_PAUSE:
        return Heard(now, None)
    await connection.execute(_RESUME, {"deaf_since": before, "now": now})
    return Heard(now, before)


_NOW: Final = sa.func.clock_timestamp()
_HEAR: Final = (
    insert(hearing)
    .values(id=1, heard_at=_NOW)
    .on_conflict_do_update(index_elements=[hearing.c.id], set_={"heard_at": _NOW})
    .returning(hearing.c.heard_at)
)

# Rows are locked in one order, as heartbeats lock them. What had run out has run out by the new time as well, whichever
# way the clock was set.
_RESUME: Final = sa.text("""
WITH told AS (
    SELECT CAST(:deaf_since AS timestamptz) AS deaf_since, CAST(:now AS timestamptz) AS now
), held AS MATERIALIZED (
    SELECT service, environment, instance_id,
        leased_at + lease_seconds * interval '1 second' > deaf_since AS was_alive
    FROM instances, told
    WHERE deregistered_at IS NULL
      AND (leased_at + lease_seconds * interval '1 second' > deaf_since
           OR leased_at + lease_seconds * interval '1 second' > now)
    ORDER BY service, environment, instance_id
    FOR NO KEY UPDATE OF instances
)
UPDATE instances i SET
    leased_at = CASE WHEN was_alive THEN now ELSE now - lease_seconds * interval '1 second' END,
    seen_at = LEAST(seen_at, now),
    change = change + 1,
    changed_in = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
FROM told, held
WHERE (i.service, i.environment, i.instance_id) = (held.service, held.environment, held.instance_id)
""").bindparams(
    sa.bindparam("deaf_since", type_=sa.TIMESTAMP(timezone=True)),
    sa.bindparam("now", type_=sa.TIMESTAMP(timezone=True)),
)
