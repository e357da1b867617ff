"""All rows of tokens. Only hashes are kept. The caller owns the transaction."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import hub_state, tokens


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as it is kept: what it may do, and the SHA-256 of the secret."""

    id: str
    name: str
    sha256: bytes
    verbs: tuple[str, ...]
    services: tuple[str, ...]
    environments: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


async def valid(connection: AsyncConnection) -> list[TokenRow]:
    """Every token that has not been revoked, the expired ones too."""
    rows = await connection.execute(
        sa.select(tokens).where(tokens.c.revoked_at.is_(None)).order_by(tokens.c.created_at)
    )
    return [_token(row) for row in rows]


async def find(connection: AsyncConnection, sha256: bytes) -> TokenRow | None:
    """The token with this hash, also when it was revoked."""
    row = (await connection.execute(sa.select(tokens).where(tokens.c.sha256 == sha256))).one_or_none()
    return None if row is None else _token(row)


async def add(connection: AsyncConnection, token: TokenRow) -> None:
    """Keep a new token and tell the other replicas to look.

    Two replicas that start together with the same file keep the same admin token: the second one changes nothing.
    """
    await connection.execute(
        insert(tokens)
        .values(
            id=token.id,
            name=token.name,
            sha256=token.sha256,
            verbs=list(token.verbs),
            services=list(token.services),
            environments=list(token.environments),
            created_at=token.created_at,
            created_by=token.created_by,
            expires_at=token.expires_at,
        )
        .on_conflict_do_nothing(index_elements=[tokens.c.sha256])
    )
    await _bump(connection)


async def revoke(connection: AsyncConnection, token_id: str, *, by: str, at: datetime) -> bool:
    """End a token. False where there is no such valid token. The row stays, as a record."""
    result = await connection.execute(
        sa.update(tokens)
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=at, revoked_by=by)
        .returning(tokens.c.id)
    )
    if result.one_or_none() is None:
        return False
    await _bump(connection)
    return True


async def _bump(connection: AsyncConnection) -> None:
    await connection.execute(sa.update(hub_state).values(tokens_version=hub_state.c.tokens_version + 1))


def _token(row: sa.Row[tuple[object, ...]]) -> TokenRow:
    return TokenRow(
        id=row.id,
        name=row.name,
        sha256=row.sha256,
        verbs=tuple(row.verbs),
        services=tuple(row.services),
        environments=tuple(row.environments),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
