"""All rows of notifications: the outbox of alerts. The caller owns the transaction.

A replica that is to send one claims it. Every claim counts an attempt, so that replica and attempt together name one
claim: who comes too late with a failure changes nothing. What was delivered was delivered, whoever claimed it since.
All times are the store's. Where its clock was set back, what was never tried is due all the same, and no claim and no
pause lasts longer than it may.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.notification_values import Counted, NewNotification, Notification, NotificationState
from central_hub.storage.tables import notifications

LONGEST_PAUSE: Final = timedelta(hours=2)
"""Between two attempts nobody waits longer, whatever happened to the clock."""


async def add(connection: AsyncConnection, new: Collection[NewNotification]) -> None:
    """Store what is to be told, due at once. In the transaction of the transition: both are kept, or neither is."""
    if new:
        rows = [{"id": one.id, "channel": one.channel, "payload": one.payload} for one in new]
        await connection.execute(_ADD, rows)


async def claim(
    connection: AsyncConnection, by: str, *, seconds: float, per_channel: int, busy: Mapping[str, int]
) -> list[Notification]:
    """Claim what is due for `seconds`, the longest due first; of each channel so many that, with those that it is
    `busy` with already, there are no more than `per_channel`. Nobody waits for another replica that claims."""
    values = {
        "by": by,
        "seconds": seconds,
        "per_channel": per_channel,
        "channels": list(busy),
        "busy": list(busy.values()),
        "longest": LONGEST_PAUSE,
    }
    rows = await connection.execute(_CLAIM, values)
    return sorted((_notification(row) for row in rows), key=lambda found: (found.created_at, found.id))


async def sent(connection: AsyncConnection, notification_id: str) -> None:
    """It was delivered."""
    await connection.execute(
        sa.update(notifications)
        .where(notifications.c.id == notification_id, notifications.c.state != NotificationState.SENT)
        .values(state=NotificationState.SENT, error=None, ended_at=_NOW, **_UNCLAIMED)
    )


async def failed(
    connection: AsyncConnection, claimed: Notification, by: str, *, error: str, again_after: timedelta | None
) -> bool:
    """The attempt that was claimed failed: it is due again later, or, without a later, given up. False where another
    replica has claimed it since."""
    values: dict[str, Any] = (
        {"state": NotificationState.DEAD, "ended_at": _NOW} if again_after is None else {"due_at": _NOW + again_after}
    )
    changed = await connection.execute(
        sa.update(notifications)
        .where(
            notifications.c.id == claimed.id,
            notifications.c.state == NotificationState.DUE,
            notifications.c.claimed_by == by,
            notifications.c.attempts == claimed.attempts,
        )
        .values(error=error, **values, **_UNCLAIMED)
    )
    return changed.rowcount == 1


async def release(connection: AsyncConnection, ids: Collection[str], by: str) -> None:
    """Give claims back that nothing came of: others need not wait until they have run out."""
    await connection.execute(
        sa.update(notifications)
        .where(
            notifications.c.id.in_(ids),
            notifications.c.state == NotificationState.DUE,
            notifications.c.claimed_by == by,
        )
        .values(**_UNCLAIMED)
    )


async def redeliver(connection: AsyncConnection, notification_id: str) -> Notification | None:
    """Make one that was given up due again, as if it were new. None where there is no such one."""
    row = (
        await connection.execute(
            sa.update(notifications)
            .where(notifications.c.id == notification_id, notifications.c.state == NotificationState.DEAD)
            .values(state=NotificationState.DUE, due_at=_NOW, attempts=0, ended_at=None, **_UNCLAIMED)
            .returning(*_COLUMNS)
        )
    ).one_or_none()
    return None if row is None else _notification(row)


async def find(connection: AsyncConnection, notification_id: str) -> Notification | None:
    """One of them."""
    row = (await connection.execute(sa.select(*_COLUMNS).where(notifications.c.id == notification_id))).one_or_none()
    return None if row is None else _notification(row)


async def latest(connection: AsyncConnection, state: NotificationState, *, limit: int) -> Sequence[Notification]:
    """Those in a state, the newest first."""
    rows = await connection.execute(
        sa.select(*_COLUMNS)
        .where(notifications.c.state == state)
        .order_by(notifications.c.created_at.desc(), notifications.c.id)
        .limit(limit)
    )
    return [_notification(row) for row in rows]


async def count(connection: AsyncConnection) -> Counted:
    """How many there are of those that are not delivered."""
    rows = await connection.execute(
        sa.select(notifications.c.state, sa.func.count().label("number"))
        .where(notifications.c.state != NotificationState.SENT)
        .group_by(notifications.c.state)
    )
    by_state = {row.state: row.number for row in rows}
    return Counted(by_state.get(NotificationState.DUE, 0), by_state.get(NotificationState.DEAD, 0))


async def forget_old(connection: AsyncConnection, age: timedelta) -> None:
    """Remove what was sent or given up longer ago than that."""
    await connection.execute(
        sa.delete(notifications).where(
            notifications.c.state != NotificationState.DUE, notifications.c.ended_at < _NOW - age
        )
    )


_NOW: Final = sa.func.clock_timestamp()
_UNCLAIMED: Final[Mapping[str, Any]] = {"claimed_by": None, "claimed_until": None}
_COLUMNS: Final = [column for column in notifications.c if not column.name.startswith("claimed_")]

_ADD: Final = sa.insert(notifications).values(
    state=NotificationState.DUE, created_at=_NOW, due_at=_NOW, attempts=0, **_UNCLAIMED
)

# now() and not clock_timestamp() in the conditions: only what stays the same within a statement can use an index.
_CLAIM: Final = sa.text("""
WITH chosen AS (
    SELECT due.id
    FROM (SELECT DISTINCT channel FROM notifications WHERE state = 'due') channels
    LEFT JOIN unnest(:channels, :busy) AS occupied (channel, number) ON occupied.channel = channels.channel
    CROSS JOIN LATERAL (
        SELECT n.id FROM notifications n
        WHERE n.channel = channels.channel AND n.state = 'due'
          AND (n.attempts = 0 OR n.due_at <= now() OR n.due_at > now() + :longest)
          AND (n.claimed_until IS NULL OR n.claimed_until <= now()
               OR n.claimed_until > now() + 2 * :seconds * interval '1 second')
        ORDER BY n.due_at, n.id
        LIMIT greatest(0, :per_channel - coalesce(occupied.number, 0))
        FOR NO KEY UPDATE SKIP LOCKED
    ) due
)
UPDATE notifications n
SET claimed_by = :by, claimed_until = clock_timestamp() + :seconds * interval '1 second', attempts = attempts + 1
FROM chosen WHERE n.id = chosen.id
RETURNING n.id, n.channel, n.payload, n.state, n.created_at, n.due_at, n.attempts, n.error, n.ended_at
""").bindparams(
    sa.bindparam("by", type_=sa.Text),
    sa.bindparam("seconds", type_=sa.Double),
    sa.bindparam("per_channel", type_=sa.Integer),
    sa.bindparam("channels", type_=sa.ARRAY(sa.Text)),
    sa.bindparam("busy", type_=sa.ARRAY(sa.Integer)),
    sa.bindparam("longest", type_=sa.Interval),
)


def _notification(row: sa.Row[Any]) -> Notification:
    return Notification(
        id=row.id,
        channel=row.channel,
        payload=row.payload,
        state=NotificationState(row.state),
        created_at=row.created_at,
        due_at=row.due_at,
        attempts=row.attempts,
        error=row.error,
        ended_at=row.ended_at,
    )
