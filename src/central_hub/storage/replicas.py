"""The replicas that are alive, with the public keys that they sign with. The caller owns the transaction."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import replicas


@dataclass(frozen=True, slots=True)
class ReplicaKey:
    """A replica's Ed25519 public key (32 bytes) and its id."""

    id: str
    public_key: bytes


async def beat(connection: AsyncConnection, key: ReplicaKey, *, at: datetime) -> None:
    """Say that the replica with this key is alive."""
    statement = insert(replicas).values(key_id=key.id, public_key=key.public_key, started_at=at, seen_at=at)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[replicas.c.key_id], set_={"seen_at": statement.excluded.seen_at}
        )
    )


async def alive(connection: AsyncConnection, *, since: datetime) -> list[ReplicaKey]:
    """The keys of the replicas seen since then."""
    rows = await connection.execute(
        sa.select(replicas).where(replicas.c.seen_at >= since).order_by(replicas.c.started_at, replicas.c.key_id)
    )
    return [ReplicaKey(row.key_id, row.public_key) for row in rows]


async def forget_before(connection: AsyncConnection, moment: datetime) -> None:
    """Remove the replicas not seen since `moment`."""
    await connection.execute(sa.delete(replicas).where(replicas.c.seen_at < moment))
