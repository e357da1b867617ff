"""All rows of instances. Only hashes of their secrets are kept. The caller owns the transaction."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.instance_values import (
    Beat,
    Check,
    Description,
    Drain,
    Instance,
    Key,
    Rejection,
    Report,
    Stance,
)
from central_hub.storage.tables import instances
from central_hub_client.wire import HealthState, Position


async def register(
    connection: AsyncConnection,
    key: Key,
    description: Description,
    *,
    secret_sha256: bytes,
    schema_hash: str | None,
    lease_seconds: int,
    at: datetime,
) -> Instance:
    """Begin a new incarnation. One that was there under the same name is fenced by the higher generation."""
    service, environment, instance_id = key
    row = await connection.execute(
        _REGISTER,
        {
            "service": service,
            "environment": environment,
            "instance_id": instance_id,
            "secret_sha256": secret_sha256,
            **_columns(description),
            "schema_hash": schema_hash,
            "lease_seconds": lease_seconds,
            "registered_at": at,
            "seen_at": at,
            "leased_at": at,
        },
    )
    return _instance(row.one())


async def describe(
    connection: AsyncConnection, key: Key, generation: int, description: Description, *, schema_hash: str | None
) -> Instance | None:
    """Replace what an incarnation says of itself. None where it is no longer the current one."""
    values = {**_columns(description), "schema_hash": schema_hash}
    return await _change(connection, key, generation, values)


async def drain(connection: AsyncConnection, key: Key, generation: int, drain: Drain) -> Instance | None:
    """Take an incarnation out of routing. One that is drained already stays as it is. None where it is not current."""
    is_drained = instances.c.drained_at.is_not(None)
    values = {"drained_at": drain.at, "drained_by": drain.by, "drain_reason": drain.reason}
    kept = {name: sa.case((is_drained, instances.c[name]), else_=value) for name, value in values.items()}
    return await _change(connection, key, generation, kept)


async def undrain(connection: AsyncConnection, key: Key, generation: int) -> Instance | None:
    """Put an incarnation back into routing. None where it is not current."""
    return await _change(connection, key, generation, {"drained_at": None, "drained_by": None, "drain_reason": None})


async def drained(connection: AsyncConnection, service: str, environment: str) -> set[str]:
    """The names of the instances that are drained. Whoever else asks this of the service waits until the transaction
    has ended: two operators must not each leave the last instance to the other."""
    place = f"drain {service}/{environment}"
    await connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:place, 0))"), {"place": place})
    found = await connection.scalars(
        sa.select(instances.c.instance_id).where(
            instances.c.service == service,
            instances.c.environment == environment,
            instances.c.drained_at.is_not(None),
        )
    )
    return set(found)


async def deregister(connection: AsyncConnection, key: Key, generation: int, *, at: datetime) -> Instance | None:
    """End an incarnation. The row stays, so that the next one gets a higher generation. None where it is not current.

    Every replica must hear of it, which it would not of a row that is gone.
    """
    return await _change(connection, key, generation, {"deregistered_at": at})


async def beat(connection: AsyncConnection, beats: Sequence[Beat]) -> list[tuple[Key, int]]:
    """Write many heartbeats at once. Those of incarnations that are no longer current change nothing.

    Returns the instances whose heartbeat was written just as it was told, each with its row's `change` by that.
    """
    stances = [beat.stance or Stance() for beat in beats]
    rows = await connection.execute(
        _BEAT,
        {
            "services": [beat.key[0] for beat in beats],
            "environments": [beat.key[1] for beat in beats],
            "instance_ids": [beat.key[2] for beat in beats],
            "generations": [beat.generation for beat in beats],
            "seen_ats": [beat.seen_at for beat in beats],
            "states": [beat.state for beat in beats],
            "have_stances": [beat.stance is not None for beat in beats],
            "applied_epochs": [stance.applied and stance.applied.epoch for stance in stances],
            "applied_revisions": [stance.applied and stance.applied.revision for stance in stances],
            "rejected_epochs": [stance.rejected and stance.rejected.position.epoch for stance in stances],
            "rejected_revisions": [stance.rejected and stance.rejected.position.revision for stance in stances],
            "rejected_reasons": [stance.rejected and stance.rejected.reason for stance in stances],
            "check_states": [beat.check and beat.check.state for beat in beats],
            "check_againsts": [beat.check and beat.check.against for beat in beats],
            "check_reasons": [beat.check and beat.check.reason for beat in beats],
            "check_ats": [beat.check and beat.check.at for beat in beats],
            "check_latencies": [beat.check and beat.check.latency_ms for beat in beats],
            "reports": [None if beat.report is None else _text(asdict(beat.report)) for beat in beats],
        },
    )
    return [
        ((service, environment, instance_id), change)
        for service, environment, instance_id, change, is_as_told in rows
        if is_as_told
    ]


async def changed_since(
    connection: AsyncConnection,
    position: int,
    *,
    leased_since: datetime,
    is_known: Callable[[Key, int], bool],
) -> tuple[list[Instance], int]:
    """The instances that changed since an earlier call, and the `position` for the next one; 0 reads all of them.

    Left out are those whose `change` the caller knows: most are what he wrote himself, and to see that a row need not
    be read takes a fraction of reading it.

    A position is the oldest transaction that had not ended: whatever was invisible then was written by it or by a
    later one, so nothing is ever missed, however commits overtake each other. Some rows come twice. The caller's
    transaction must see one moment.
    """
    upcoming = await connection.scalar(OLDEST_OPEN_TRANSACTION)
    if position == 0:
        rows = await connection.execute(sa.select(instances).where(instances.c.leased_at >= leased_since))
    else:
        changes = await connection.execute(_CHANGES, {"position": position, "leased_since": leased_since})
        unknown = [tuple(key) for *key, change in changes if not is_known((key[0], key[1], key[2]), change)]
        if not unknown:
            return [], int(upcoming or 0)
        services, environments, instance_ids = (list(names) for names in zip(*unknown, strict=True))
        rows = await connection.execute(
            _THESE, {"services": services, "environments": environments, "instance_ids": instance_ids}
        )
    found = []
    for row in rows:
        found.append(_instance(row))
        if len(found) % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)  # thousands take a while: others go on in between
    return found, int(upcoming or 0)


async def forget_before(connection: AsyncConnection, moment: datetime) -> None:
    """Remove the instances that were last seen before `moment`."""
    await connection.execute(sa.delete(instances).where(instances.c.seen_at < moment))


async def _change(connection: AsyncConnection, key: Key, generation: int, values: dict[str, Any]) -> Instance | None:
    service, environment, instance_id = key
    row = await connection.execute(
        sa.update(instances)
        .where(
            instances.c.service == service,
            instances.c.environment == environment,
            instances.c.instance_id == instance_id,
            instances.c.generation == generation,
            instances.c.deregistered_at.is_(None),
        )
        .values(**values, change=instances.c.change + 1, changed_in=_THIS_TRANSACTION)
        .returning(instances)
    )
    found = row.one_or_none()
    return None if found is None else _instance(found)


def _columns(description: Description) -> dict[str, Any]:
    return {
        "host": description.host,
        "port": description.port,
        "protocol": description.protocol,
        "health_endpoint": description.health_endpoint,
        "version": description.version,
        "build": description.build,
        "capabilities": list(description.capabilities),
        "labels": _text(description.labels),
        "metadata": _text(description.metadata),
        "weight": description.weight,
        "zone": description.zone,
    }


def _instance(row: Any) -> Instance:
    rejected = _position(row.rejected_epoch, row.rejected_revision)
    return Instance(
        service=row.service,
        environment=row.environment,
        instance_id=row.instance_id,
        generation=row.generation,
        secret_sha256=row.secret_sha256,
        description=Description(
            host=row.host,
            port=row.port,
            protocol=row.protocol,
            health_endpoint=row.health_endpoint,
            version=row.version,
            build=row.build,
            capabilities=tuple(row.capabilities),
            labels=json.loads(row.labels),
            metadata=json.loads(row.metadata),
            weight=row.weight,
            zone=row.zone,
        ),
        schema_hash=row.schema_hash,
        lease_seconds=row.lease_seconds,
        state=HealthState(row.state),
        registered_at=row.registered_at,
        seen_at=row.seen_at,
        leased_at=row.leased_at,
        deregistered_at=row.deregistered_at,
        stance=Stance(
            _position(row.applied_epoch, row.applied_revision),
            None if rejected is None else Rejection(rejected, row.rejected_reason),
        ),
        report=Report(**{kind: tuple(keys) for kind, keys in json.loads(row.report).items()}),
        change=row.change,
        drain=None if row.drained_at is None else Drain(row.drained_by, row.drained_at, row.drain_reason),
        check=None if row.check_at is None else _check(row),
    )


def _check(row: Any) -> Check:
    return Check(
        None if row.check_state is None else HealthState(row.check_state),
        row.check_against,
        row.check_reason,
        row.check_at,
        row.check_latency_ms,
    )


def _position(epoch: int | None, revision: int | None) -> Position | None:
    return None if epoch is None or revision is None else Position(epoch, revision)


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


_ROWS_AT_ONCE: Final = 50

# 64 bits that never wrap (xid8), unlike the 32 that rows carry by themselves.
_THIS_TRANSACTION: Final = sa.literal_column("CAST(CAST(pg_current_xact_id() AS text) AS bigint)", sa.BigInteger)
OLDEST_OPEN_TRANSACTION: Final = sa.text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")


def _register_statement() -> sa.sql.dml.ReturningInsert[Any]:
    """Built once: putting it together takes longer than carrying it out."""
    new = insert(instances).values(
        generation=1, state=HealthState.STARTING, report="{}", change=1, changed_in=_THIS_TRANSACTION
    )
    name = ("service", "environment", "instance_id")
    replaced: dict[str, Any] = {
        column.name: new.excluded[column.name] for column in instances.c if column.name not in name
    }
    replaced |= {"generation": instances.c.generation + 1, "change": instances.c.change + 1}
    return new.on_conflict_do_update(index_elements=name, set_=replaced).returning(*instances.c)


_REGISTER: Final = _register_statement()


def _these_statement() -> sa.Select[Any]:
    names = ("service", "environment", "instance_id")
    told = sa.func.unnest(*(sa.bindparam(f"{name}s", type_=sa.ARRAY(sa.Text)) for name in names))
    named = told.table_valued(*names, name="named").render_derived()
    return sa.select(instances).join(named, sa.and_(*(instances.c[name] == named.c[name] for name in names)))


_CHANGES: Final = sa.select(
    instances.c.service, instances.c.environment, instances.c.instance_id, instances.c.change
).where(instances.c.changed_in >= sa.bindparam("position"), instances.c.leased_at >= sa.bindparam("leased_since"))
_THESE: Final = _these_statement()

# Rows are locked in one order, because two replicas may hold heartbeats of the same instances at the same time.
_BEAT: Final = sa.text("""
WITH beat AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:services AS text[]), CAST(:environments AS text[]), CAST(:instance_ids AS text[]),
        CAST(:generations AS bigint[]), CAST(:seen_ats AS timestamptz[]), CAST(:states AS text[]),
        CAST(:have_stances AS boolean[]), CAST(:applied_epochs AS bigint[]), CAST(:applied_revisions AS bigint[]),
        CAST(:rejected_epochs AS bigint[]), CAST(:rejected_revisions AS bigint[]), CAST(:rejected_reasons AS text[]),
        CAST(:reports AS text[]), CAST(:check_states AS text[]), CAST(:check_againsts AS bigint[]),
        CAST(:check_reasons AS text[]), CAST(:check_ats AS timestamptz[]), CAST(:check_latencies AS double precision[])
    ) AS b (service, environment, instance_id, generation, seen_at, state, has_stance, applied_epoch, applied_revision,
            rejected_epoch, rejected_revision, rejected_reason, report, check_state, check_against, check_reason,
            check_at, check_latency_ms)
), current AS MATERIALIZED (
    SELECT i.service, i.environment, i.instance_id,
        b.check_at IS NOT NULL AND b.check_at >= COALESCE(i.check_at, b.check_at) AS is_checked
    FROM instances i JOIN beat b USING (service, environment, instance_id)
    WHERE i.generation = b.generation AND i.deregistered_at IS NULL
    ORDER BY i.service, i.environment, i.instance_id
    FOR NO KEY UPDATE OF i
)
UPDATE instances i SET
    seen_at = GREATEST(i.seen_at, LEAST(b.seen_at, clock_timestamp())),
    leased_at = GREATEST(i.leased_at, LEAST(b.seen_at, clock_timestamp())),
    state = COALESCE(b.state, i.state),
    applied_epoch = CASE WHEN b.has_stance THEN b.applied_epoch ELSE i.applied_epoch END,
    applied_revision = CASE WHEN b.has_stance THEN b.applied_revision ELSE i.applied_revision END,
    rejected_epoch = CASE WHEN b.has_stance THEN b.rejected_epoch ELSE i.rejected_epoch END,
    rejected_revision = CASE WHEN b.has_stance THEN b.rejected_revision ELSE i.rejected_revision END,
    rejected_reason = CASE WHEN b.has_stance THEN b.rejected_reason ELSE i.rejected_reason END,
    report = COALESCE(b.report, i.report),
    check_state = CASE WHEN is_checked THEN b.check_state ELSE i.check_state END,
    check_against = CASE WHEN is_checked THEN b.check_against ELSE i.check_against END,
    check_reason = CASE WHEN is_checked THEN b.check_reason ELSE i.check_reason END,
    check_at = CASE WHEN is_checked THEN b.check_at ELSE i.check_at END,
    check_latency_ms = CASE WHEN is_checked THEN b.check_latency_ms ELSE i.check_latency_ms END,
    change = i.change + 1,
    changed_in = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
FROM beat b JOIN current USING (service, environment, instance_id)
WHERE (i.service, i.environment, i.instance_id) = (b.service, b.environment, b.instance_id)
  AND i.generation = b.generation AND i.deregistered_at IS NULL
RETURNING i.service, i.environment, i.instance_id, i.change, LEAST(i.seen_at, i.leased_at) >= b.seen_at
""").bindparams(
    *(
        sa.bindparam(name, type_=sa.ARRAY(sa.Text))
        for name in (
            "services environments instance_ids states rejected_reasons reports check_states check_reasons"
        ).split()
    ),
    *(
        sa.bindparam(name, type_=sa.ARRAY(sa.BigInteger))
        for name in (
            "generations applied_epochs applied_revisions rejected_epochs rejected_revisions check_againsts"
        ).split()
    ),
    *(sa.bindparam(name, type_=sa.ARRAY(sa.TIMESTAMP(timezone=True))) for name in ("seen_ats", "check_ats")),
    sa.bindparam("check_latencies", type_=sa.ARRAY(sa.Double)),
    sa.bindparam("have_stances", type_=sa.ARRAY(sa.Boolean)),
)
