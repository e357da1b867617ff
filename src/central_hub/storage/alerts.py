"""All rows of alerts. The caller owns the transaction."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.alert_values import Affected, Alert, AlertState
from central_hub.storage.tables import alerts

Place = tuple[datetime, str]
"""Of an alert among all: when it began, and its id."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alerts are listed; None fits all. Those that are open are not resolved."""

    state: AlertState | None = None
    is_open: bool | None = None
    severity: str | None = None
    subject: str | None = None
    rule: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class Covered:
    """Of the alerts about services, which are of these `kinds`, those that fit one of the names of each; in a name `*`
    stands for anything. Of the others all."""

    kinds: Collection[str]
    services: Sequence[str]
    environments: Sequence[str]


async def to_decide(
    connection: AsyncConnection,
    *,
    replica: str,
    alive: Collection[str] | None,
    told_since: datetime,
    for_update: bool = False,
) -> list[Alert]:
    """Alerts that are not resolved, and those that were told since then.

    Of those that only `replica` can tell; for all replicas it is empty. With `alive` come also those of replicas that
    are not: somebody must end what nobody looks at any more.
    """
    whose = alerts.c.replica == replica
    if alive is not None:
        whose |= (alerts.c.replica != "") & alerts.c.replica.not_in(alive)
    statement = (
        sa.select(alerts)
        .where(whose, (alerts.c.state != AlertState.RESOLVED) | (alerts.c.notified_at > told_since))
        .order_by(alerts.c.notified_at.nulls_first(), alerts.c.id)
    )
    rows = await connection.execute(statement.with_for_update() if for_update else statement)
    return [_alert(row) for row in rows]


async def save(connection: AsyncConnection, changed: Collection[Alert], dropped: Collection[str]) -> None:
    """Store what was decided. Where another replica has opened the same alert meanwhile, the transaction fails."""
    if dropped:
        # First: an alert that comes back takes the place of one that was pending.
        await connection.execute(sa.delete(alerts).where(alerts.c.id.in_(dropped)))
    if changed:
        statement = insert(alerts)
        updated = {name: statement.excluded[name] for name in _COLUMNS if name != "id"}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=[alerts.c.id], set_=updated),
            [_row(alert) for alert in changed],
        )


async def find(connection: AsyncConnection, alert_id: str) -> Alert | None:
    row = (await connection.execute(sa.select(alerts).where(alerts.c.id == alert_id))).one_or_none()
    return None if row is None else _alert(row)


async def listed(
    connection: AsyncConnection, wanted: Wanted, covered: Covered, *, after: Place | None, limit: int
) -> Sequence[Alert]:
    """Alerts, the latest to begin first, those behind a place in that order."""
    is_covered = _fits(alerts.c.subject, covered.services) & _fits(alerts.c.environment, covered.environments)
    statement = (
        sa.select(alerts)
        .where(alerts.c.kind.not_in(covered.kinds) | is_covered)
        .order_by(alerts.c.since.desc(), alerts.c.id.desc())
        .limit(limit)
    )
    for name in ("state", "severity", "subject", "rule", "environment"):
        if (value := getattr(wanted, name)) is not None:
            statement = statement.where(alerts.c[name] == value)
    if wanted.is_open is not None:
        is_resolved = alerts.c.state == AlertState.RESOLVED
        statement = statement.where(~is_resolved if wanted.is_open else is_resolved)
    if after is not None:
        statement = statement.where(sa.tuple_(alerts.c.since, alerts.c.id) < sa.tuple_(*after))
    return [_alert(row) for row in await connection.execute(statement)]


async def acknowledge(
    connection: AsyncConnection, alert_id: str, *, by: str, comment: str | None, at: datetime
) -> Alert | None:
    """Say who looks after it. None where it is resolved, or was never there."""
    row = (
        await connection.execute(
            sa.update(alerts)
            .where(alerts.c.id == alert_id, alerts.c.state != AlertState.RESOLVED)
            .values(acknowledged_at=at, acknowledged_by=by, acknowledgement=comment, change=alerts.c.change + 1)
            .returning(alerts)
        )
    ).one_or_none()
    return None if row is None else _alert(row)


async def count(connection: AsyncConnection) -> Mapping[tuple[str, str], int]:
    """How many are open, by state and severity."""
    rows = await connection.execute(
        sa.select(alerts.c.state, alerts.c.severity, sa.func.count())
        .where(alerts.c.state != AlertState.RESOLVED)
        .group_by(alerts.c.state, alerts.c.severity)
    )
    return {(state, severity): number for state, severity, number in rows}


async def forget_resolved(connection: AsyncConnection, now: datetime, age: timedelta) -> None:
    """Remove those that were resolved longer ago than that."""
    await connection.execute(
        sa.delete(alerts).where(alerts.c.state == AlertState.RESOLVED, alerts.c.resolved_at < now - age)
    )


def _fits(column: sa.Column[str], names: Sequence[str]) -> sa.ColumnElement[bool]:
    if "*" in names:
        return sa.true()
    patterns = [re.sub(r"[\\%_]", r"\\\g<0>", name).replace("*", "%") for name in names]
    return sa.or_(sa.false(), *(column.like(pattern, escape="\\") for pattern in patterns))


_STATES: Final = frozenset(AlertState)
_COLUMNS: Final = tuple(field.name for field in fields(Alert))


def _row(alert: Alert) -> dict[str, Any]:
    return {name: getattr(alert, name) for name in _COLUMNS} | {
        "labels": orjson.dumps(dict(alert.labels)).decode(),
        "notify": list(alert.notify),
        "caused_by": list(alert.caused_by),
        "affected": orjson.dumps([[each.kind, each.subject, each.environment] for each in alert.affected]).decode(),
    }


def _state(text: str) -> AlertState:
    """One that only another version of the hub knows is at least no end: its alert is open."""
    return AlertState(text) if text in _STATES else AlertState.FIRING


def _alert(row: sa.Row[Any]) -> Alert:
    return Alert(
        **dict(row._mapping)
        | {
            "labels": orjson.loads(row.labels),
            "notify": tuple(row.notify),
            "state": _state(row.state),
            "caused_by": tuple(row.caused_by),
            "affected": tuple(Affected(*each) for each in orjson.loads(row.affected)),
        }
    )
