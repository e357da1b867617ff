"""All rows of silences. The caller owns the transaction."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.alert_values import Silence
from central_hub.storage.tables import silences


async def add(connection: AsyncConnection, silence: Silence) -> None:
    await connection.execute(sa.insert(silences).values(**asdict(silence)))


async def current(connection: AsyncConnection, now: datetime) -> list[Silence]:
    """Those that have not ended, the first to end first."""
    rows = await connection.execute(
        sa.select(silences)
        .where(silences.c.ended_at.is_(None), silences.c.until > now)
        .order_by(silences.c.until, silences.c.id)
    )
    return [_silence(row) for row in rows]


async def count_of(connection: AsyncConnection, silence: Silence) -> int:
    """How many there are of the same that had not ended when this one was made."""
    same = (silences.c[name] == getattr(silence, name) for name in ("rule", "subject", "environment"))
    statement = (
        sa.select(sa.func.count())
        .select_from(silences)
        .where(*same, silences.c.ended_at.is_(None), silences.c.until > silence.created_at)
    )
    return int((await connection.execute(statement)).scalar_one())


async def find(connection: AsyncConnection, silence_id: str) -> Silence | None:
    row = (await connection.execute(sa.select(silences).where(silences.c.id == silence_id))).one_or_none()
    return None if row is None else _silence(row)


async def end(connection: AsyncConnection, silence_id: str, *, at: datetime) -> bool:
    """End it early. False where it has ended already."""
    ended = await connection.execute(
        sa.update(silences)
        .where(silences.c.id == silence_id, silences.c.ended_at.is_(None), silences.c.until > at)
        .values(ended_at=at)
    )
    return ended.rowcount == 1


async def forget_before(connection: AsyncConnection, moment: datetime) -> None:
    """Remove those that ended before `moment`."""
    await connection.execute(sa.delete(silences).where((silences.c.until < moment) | (silences.c.ended_at < moment)))


def _silence(row: sa.Row[Any]) -> Silence:
    return Silence(**row._mapping)
