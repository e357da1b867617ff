"""Remembered answers to writes that carried an Idempotency-Key. The caller owns the transaction."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import idempotency_keys


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer that a key of a token got, the hash of the request that got it, and the revision that it made."""

    token_id: str
    key: str
    request_hash: str
    response: str
    etag: str
    revision: int | None


async def find(connection: AsyncConnection, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Remembered]:
    """What was answered before, by (token, key). Asks nothing where there is nothing to ask for."""
    if not keys:
        return {}
    columns = sa.tuple_(idempotency_keys.c.token_id, idempotency_keys.c.key)
    rows = await connection.execute(sa.select(idempotency_keys).where(columns.in_(list(keys))))
    return {
        (row.token_id, row.key): Remembered(
            row.token_id, row.key, row.request_hash, row.response, row.etag, row.revision
        )
        for row in rows
    }


async def remember(connection: AsyncConnection, answers: Collection[Remembered], *, at: datetime) -> None:
    """Keep answers in the transaction of the writes that they answer, under the commit lock."""
    if answers:
        rows = [{**asdict(answer), "created_at": at} for answer in answers]
        await connection.execute(sa.insert(idempotency_keys), rows)


async def forget_before(connection: AsyncConnection, moment: datetime) -> None:
    """Remove answers older than `moment`."""
    await connection.execute(sa.delete(idempotency_keys).where(idempotency_keys.c.created_at < moment))
