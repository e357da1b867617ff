"""Remembered answers to writes that carried an Idempotency-Key. The caller owns the transaction."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import idempotency_keys


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer that a key got, and the hash of the request that got it."""

    request_hash: str
    response: str
    etag: str


async def find(connection: AsyncConnection, token_id: str, key: str) -> Remembered | None:
    """What was answered to this key of this token."""
    row = (
        await connection.execute(
            sa.select(idempotency_keys).where(idempotency_keys.c.token_id == token_id, idempotency_keys.c.key == key)
        )
    ).one_or_none()
    return None if row is None else Remembered(row.request_hash, row.response, row.etag)


async def remember(
    connection: AsyncConnection, token_id: str, key: str, answer: Remembered, *, revision: int | None, at: datetime
) -> None:
    """Keep an answer in the transaction of the write that it answers, under the commit lock."""
    await connection.execute(
        sa.insert(idempotency_keys).values(
            token_id=token_id,
            key=key,
            request_hash=answer.request_hash,
            revision=revision,
            response=answer.response,
            etag=answer.etag,
            created_at=at,
        )
    )


async def forget_before(connection: AsyncConnection, moment: datetime) -> None:
    """Remove answers older than `moment`."""
    await connection.execute(sa.delete(idempotency_keys).where(idempotency_keys.c.created_at < moment))
