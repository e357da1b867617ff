"""The valid tokens, kept in memory: every request is decided without the database."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from central_hub.connections.database import Database
from central_hub.errors import NotFound, StartupRefused
from central_hub.security.files import write_private
from central_hub.security.tokens import Grant, Grants, Verb, generate, sha256
from central_hub.storage import tokens
from central_hub.storage.config_values import Head
from central_hub.storage.tokens import TokenRow
from central_hub_client.wire import GLOBAL

_LEAST_TOKEN_CHARACTERS: Final = 32

log = structlog.get_logger()


class TokenRegistry:
    """Creates and revokes tokens, and holds the valid ones. `grants` is replaced whole, never changed."""

    def __init__(
        self,
        database: Database,
        *,
        on_change: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._on_change = on_change
        self._clock = clock
        self._seen: tuple[str, int, int] | None = None
        self._loading = asyncio.Lock()
        self.grants = Grants()
        self.is_loaded = False

    async def refresh(self, head: Head) -> None:
        """Read the tokens anew if they have changed since. Raises StoreUnavailable."""
        # A restored store may have come to the same version by other changes.
        found = (head.hub_id, head.epoch, head.tokens_version)
        if found != self._seen:
            await self._load()
            self._seen = found

    async def listed(self) -> list[TokenRow]:
        """Every token that was not revoked. Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            return await tokens.valid(connection)

    async def create(
        self,
        name: str,
        verbs: frozenset[Verb],
        services: tuple[str, ...],
        environments: tuple[str, ...],
        *,
        expires_at: datetime | None,
        created_by: str,
    ) -> tuple[str, TokenRow]:
        """A new token, shown this once, and what is kept of it. Raises StoreUnavailable."""
        token = generate()
        row = self._row(token, name, verbs, services, environments, expires_at=expires_at, created_by=created_by)
        await self._database.transaction(lambda connection: tokens.add(connection, row))
        await self._load()
        log.info("token_created", id=row.id, by=created_by)
        return token, row

    async def revoke(self, token_id: str, *, by: str) -> None:
        """End a token. Raises NotFound, StoreUnavailable."""
        at = self._clock()
        if not await self._database.transaction(lambda connection: tokens.revoke(connection, token_id, by=by, at=at)):
            raise NotFound("there is no such token")
        await self._load()
        log.info("token_revoked", id=token_id, by=by)

    async def ensure_admin(self, path: Path) -> None:
        """Make sure that the token in `path` is valid, and that there is one. Raises StartupRefused.

        No default secret exists: the first start makes one, writes it into a file that only its owner may read, and
        prints it nowhere.
        """
        kept = _kept_token(path)
        token = kept or generate()
        async with self._database.reading() as connection:
            known = await tokens.find(connection, sha256(token))
        if known is None:
            row = self._row(
                token,
                "admin",
                frozenset({Verb.ADMIN}),
                ("*", GLOBAL),
                ("*",),
                expires_at=None,
                created_by="central-hub",
            )
            await self._database.transaction(lambda connection: tokens.add(connection, row))
        elif known.revoked_at is not None:
            log.warning("admin_token_revoked", file=str(path), remedy="remove the file to get a new one")
        if kept is None:
            try:
                write_private(path, token.encode() + b"\n")
            except OSError as error:
                raise StartupRefused(f"the admin token cannot be written to {path}: {error.strerror}") from error

    async def _load(self) -> None:
        # One at a time: what was read before a token was revoked must not take the place of what was read after.
        async with self._loading:
            async with self._database.reading() as connection:
                rows = await tokens.valid(connection)
            self.grants = Grants((row.sha256, _grant(row)) for row in rows)
            self.is_loaded = True
        self._on_change()

    def _row(
        self,
        token: str,
        name: str,
        verbs: frozenset[Verb],
        services: tuple[str, ...],
        environments: tuple[str, ...],
        *,
        expires_at: datetime | None,
        created_by: str,
    ) -> TokenRow:
        return TokenRow(
            id=secrets.token_hex(8),
            name=name,
            sha256=sha256(token),
            verbs=tuple(sorted(verbs)),
            services=services,
            environments=environments,
            created_at=self._clock(),
            created_by=created_by,
            expires_at=expires_at,
            revoked_at=None,
        )


def _kept_token(path: Path) -> str | None:
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartupRefused(f"the admin token cannot be read from {path}: {error.strerror}") from error
    if len(token) < _LEAST_TOKEN_CHARACTERS:
        raise StartupRefused(f"{path} does not hold a token: remove the file, and the next start writes a new one")
    return token


def _grant(row: TokenRow) -> Grant:
    return Grant(
        token_id=row.id,
        name=row.name,
        verbs=frozenset(Verb(verb) for verb in row.verbs if verb in set(Verb)),
        services=row.services,
        environments=row.environments,
        expires_at=row.expires_at,
    )
