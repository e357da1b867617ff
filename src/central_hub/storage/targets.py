"""All rows of targets and of their transitions. The caller owns the transaction."""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.instances import OLDEST_OPEN_TRANSACTION
from central_hub.storage.tables import target_transitions, targets
from central_hub.storage.target_values import Target, Transition
from central_hub_client.wire import HealthState


async def write(connection: AsyncConnection, rows: Sequence[Target], transitions: Sequence[Transition]) -> set[str]:
    """Write many targets at once, each by compare-and-set: its row must have the `change` before, or not be there.

    Returns the names of those that were written; only their transitions are.
    """
    ordered = sorted(rows, key=lambda row: row.name)  # rows are locked in one order, whoever writes them
    written = set(
        await connection.scalars(
            _WRITE,
            {
                "names": [row.name for row in ordered],
                "states": [row.state for row in ordered],
                "sinces": [row.since for row in ordered],
                "againsts": [row.against for row in ordered],
                "turnses": [json.dumps([turn.isoformat() for turn in row.turns]) for row in ordered],
                "reasons": [row.reason for row in ordered],
                "latencies": [row.latency_ms for row in ordered],
                "probed_ats": [row.probed_at for row in ordered],
                "probed_bys": [row.probed_by for row in ordered],
                "changes": [row.change for row in ordered],
            },
        )
    )
    kept = [transition for transition in transitions if transition.target in written]
    if kept:
        await connection.execute(
            _ADD_TRANSITIONS,
            {
                "targets": [transition.target for transition in kept],
                "ats": [transition.at for transition in kept],
                "from_states": [transition.from_state for transition in kept],
                "to_states": [transition.to_state for transition in kept],
                "reasons": [transition.reason for transition in kept],
            },
        )
    return written


async def changed_since(
    connection: AsyncConnection, position: int, *, is_known: Callable[[str, int], bool]
) -> tuple[list[Target], int]:
    """The targets that changed since an earlier call, and the `position` for the next one; 0 reads all of them.

    Left out are those whose `change` the caller knows. A position is as that of `instances.changed_since`.
    """
    upcoming = await connection.scalar(OLDEST_OPEN_TRANSACTION)
    rows = await connection.execute(sa.select(targets).where(targets.c.changed_in >= position))
    found = [_target(row) for row in rows if position == 0 or not is_known(row.name, row.change)]
    return found, int(upcoming or 0)


async def transitions(connection: AsyncConnection, name: str, *, limit: int) -> list[Transition]:
    """How a target came to be as it is, newest first."""
    rows = await connection.execute(
        sa.select(target_transitions)
        .where(target_transitions.c.target == name)
        .order_by(target_transitions.c.at.desc())
        .limit(limit)
    )
    return [
        Transition(row.target, row.at, HealthState(row.from_state), HealthState(row.to_state), row.reason)
        for row in rows
    ]


async def remove(connection: AsyncConnection, names: Collection[str]) -> None:
    """Remove targets that there are no more. Their transitions are kept as long as any."""
    await connection.execute(sa.delete(targets).where(targets.c.name.in_(names)))


async def forget_before(
    connection: AsyncConnection, moment: datetime, *, transitions_before: datetime, but: Collection[str]
) -> None:
    """Remove the targets, but these, that were last probed before `moment`, and the transitions before that."""
    await connection.execute(sa.delete(targets).where(targets.c.probed_at < moment, targets.c.name.not_in(but)))
    await connection.execute(sa.delete(target_transitions).where(target_transitions.c.at < transitions_before))


def _target(row: Any) -> Target:
    return Target(
        name=row.name,
        state=HealthState(row.state),
        since=row.since,
        against=row.against,
        turns=tuple(datetime.fromisoformat(turn) for turn in json.loads(row.turns)),
        reason=row.reason,
        latency_ms=row.latency_ms,
        probed_at=row.probed_at,
        probed_by=row.probed_by,
        change=row.change,
    )


def _arrays(**types: Any) -> list[sa.BindParameter[Any]]:
    return [sa.bindparam(name, type_=sa.ARRAY(type_)) for name, type_ in types.items()]


_TIME: Final = sa.TIMESTAMP(timezone=True)
_WRITE: Final = sa.text("""
INSERT INTO targets AS t (name, state, since, against, turns, reason, latency_ms, probed_at, probed_by, change,
    changed_in)
SELECT told.*, CAST(CAST(pg_current_xact_id() AS text) AS bigint)
FROM unnest(
    CAST(:names AS text[]), CAST(:states AS text[]), CAST(:sinces AS timestamptz[]), CAST(:againsts AS integer[]),
    CAST(:turnses AS text[]), CAST(:reasons AS text[]), CAST(:latencies AS double precision[]),
    CAST(:probed_ats AS timestamptz[]), CAST(:probed_bys AS text[]), CAST(:changes AS bigint[])
) AS told
ON CONFLICT (name) DO UPDATE SET
    state = excluded.state, since = excluded.since, against = excluded.against, turns = excluded.turns,
    reason = excluded.reason, latency_ms = excluded.latency_ms, probed_at = excluded.probed_at,
    probed_by = excluded.probed_by, change = excluded.change, changed_in = excluded.changed_in
WHERE t.change = excluded.change - 1
RETURNING name
""").bindparams(
    *_arrays(
        names=sa.Text,
        states=sa.Text,
        sinces=_TIME,
        againsts=sa.Integer,
        turnses=sa.Text,
        reasons=sa.Text,
        latencies=sa.Double,
        probed_ats=_TIME,
        probed_bys=sa.Text,
        changes=sa.BigInteger,
    )
)
# Two of one target at one moment there are only where the clock was set back: then the first stands.
_ADD_TRANSITIONS: Final = sa.text("""
INSERT INTO target_transitions (target, at, from_state, to_state, reason)
SELECT * FROM unnest(
    CAST(:targets AS text[]), CAST(:ats AS timestamptz[]), CAST(:from_states AS text[]), CAST(:to_states AS text[]),
    CAST(:reasons AS text[])
)
ON CONFLICT DO NOTHING
""").bindparams(*_arrays(targets=sa.Text, ats=_TIME, from_states=sa.Text, to_states=sa.Text, reasons=sa.Text))
