"""What the hub asks of the PostgreSQL server itself: its identity and its durability."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import hub_state


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which history the server is writing: another system or timeline may have lost commits."""

    system_identifier: str
    timeline: int


async def durability_flaws(connection: AsyncConnection) -> list[str]:
    """Settings with which an acknowledged write could be lost, as sentences; empty when there are none."""
    flaws = [
        f"{name} is {value}"
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if (value := await connection.scalar(sa.text("SELECT current_setting(:name)"), {"name": name}))
        in ("off", "local")
    ]
    if await connection.scalar(sa.text("SELECT pg_is_in_recovery()")):
        flaws.append("the server is a standby in recovery")
    return flaws


async def cluster(connection: AsyncConnection) -> Cluster:
    """The identity of the server's history. A standby has none of its own: it answers as if it were unavailable."""
    # Not pg_control_checkpoint(): after a failover that tells the old timeline until the first checkpoint.
    row = (
        await connection.execute(
            sa.text(
                "SELECT (SELECT CAST(system_identifier AS text) FROM pg_control_system()) AS system_identifier,"
                " pg_walfile_name(pg_current_wal_lsn()) AS wal_file"
            )
        )
    ).one()
    return Cluster(row.system_identifier, timeline=int(row.wal_file[:8], 16))


async def is_recorded(connection: AsyncConnection, found: Cluster) -> bool:
    """Whether this is the cluster that the history is known to live on."""
    state = (await connection.execute(sa.select(hub_state))).one()
    return (state.system_identifier, state.timeline) == (found.system_identifier, found.timeline)


async def adopt_cluster(connection: AsyncConnection, found: Cluster) -> int | None:
    """Record which cluster the history lives on. Where it is another one than recorded, raise the epoch and return it.

    The caller holds the commit lock.
    """
    state = (await connection.execute(sa.select(hub_state))).one()
    recorded = None if state.system_identifier is None else Cluster(state.system_identifier, state.timeline)
    if recorded == found:
        return None
    epoch = state.epoch if recorded is None else state.epoch + 1
    await connection.execute(
        sa.update(hub_state).values(epoch=epoch, system_identifier=found.system_identifier, timeline=found.timeline)
    )
    return None if recorded is None else epoch
