"""All rows of duties: what one replica does for all of them, for as long as its lease lasts. The caller owns the
transaction.

Leases run by the store's clock. Who does something by virtue of a duty locks its row in the same transaction: a replica
that was paused and wakes up finds that another one has the duty, and writes nothing.
"""

from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import duties


async def take(connection: AsyncConnection, name: str, holder: str, lease: timedelta) -> bool:
    """Take a duty that nobody has, or whose lease has run out, or renew one's own. False where another has it."""
    statement = insert(duties).values(name=name, holder=holder, until=_NOW + lease)
    taken = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[duties.c.name],
            set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
            # One that lasts longer than any lease was given out by a clock that was set back since.
            where=(duties.c.holder == holder) | (duties.c.until <= _NOW) | (duties.c.until > _NOW + 2 * lease),
        ).returning(duties.c.name)
    )
    return taken.one_or_none() is not None


async def lock(connection: AsyncConnection, name: str, holder: str) -> bool:
    """Whether it is still this replica's; until the end of the transaction nobody takes it over."""
    # A process that is stopped in the middle of it must not keep the row from the others.
    await connection.execute(_GIVE_UP_SOON)
    found = await connection.execute(
        sa.select(duties.c.name)
        .where(duties.c.name == name, duties.c.holder == holder, duties.c.until > _NOW)
        .with_for_update()
    )
    return found.one_or_none() is not None


async def release(connection: AsyncConnection, name: str, holder: str) -> None:
    """Let another replica take it at once."""
    await connection.execute(
        sa.update(duties).where(duties.c.name == name, duties.c.holder == holder).values(until=_NOW)
    )


_NOW: Final = sa.func.clock_timestamp()
_GIVE_UP_SOON: Final = sa.text("SET LOCAL idle_in_transaction_session_timeout = '5s'")
