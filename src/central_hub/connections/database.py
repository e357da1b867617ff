"""PostgreSQL: a pool, and transactions whose failures say whether anything can have happened."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from central_hub.errors import StartupRefused, StoreUnavailable

T = TypeVar("T")

POOL_SIZE: Final = 16
STATEMENT_TIMEOUT_SECONDS: Final = 10.0
CONNECT_TIMEOUT_SECONDS: Final = 3.0
# What asyncpg and the operating system raise when the server is gone: never reached, refused, reset, timed out.
_LOST: Final = (OSError, TimeoutError, InterfaceError, OperationalError, PoolTimeout)
# SQLSTATE classes of a server that cannot serve now: connection, resources, operator intervention (a shutdown), system;
# and of a database that is being restored: not there (3D), not taking connections (55000).
_UNAVAILABLE_CLASSES: Final = ("08", "3D", "53", "55000", "57", "58")
# What may stand behind the `?` of a URL, besides sslmode: arguments of asyncpg and its dialect that may be text.
_URL_PARAMETERS: Final = {"host", "passfile", "port", "prepared_statement_cache_size", "ssl", "target_session_attrs"}


class Database:
    """A pool of connections to one PostgreSQL, as one role."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        self._engine = create_engine(url, pool_size=pool_size)
        self.role = self._engine.url.username or ""

    async def close(self) -> None:
        await self._engine.dispose()

    async def transaction(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit. Raises StoreUnavailable when the server is gone.

        A pooled connection may have died unnoticed with the server it led to; where that shows before the commit was
        sent, nothing can have happened, and the work is done once more on a new connection.
        """
        for attempt in (1, 2):
            committing = False
            try:
                async with self._engine.connect() as connection:
                    result = await work(connection)
                    committing = True
                    await connection.commit()
                    return result
            except (DBAPIError, *_LOST) as error:
                if not _is_unavailable(error):
                    raise
                if committing:
                    raise StoreUnavailable(
                        "the database went away while the change was being committed: whether it is stored is unknown;"
                        " ask again with the same Idempotency-Key, or read the document"
                    ) from error
                if attempt == 2 or not _was_stale(error):
                    raise StoreUnavailable("the database cannot be reached: nothing was stored; try again") from error
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a read-only transaction that sees one moment. Raises StoreUnavailable."""
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                yield connection
        except (DBAPIError, *_LOST) as error:
            if not _is_unavailable(error):
                raise
            raise StoreUnavailable("the database cannot be reached; try again") from error

    def pool_in_use(self) -> int:
        """Connections that are checked out now."""
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, sa.QueuePool) else 0


def create_engine(url: str, *, pool_size: int) -> AsyncEngine:
    """An engine for a libpq URL. Raises StartupRefused for one that cannot be read."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        # The message of the error quotes the URL, and the URL holds the password.
        raise StartupRefused(
            "the database URL cannot be read: expected postgresql://user:password@host/name"
        ) from error
    if not parsed.drivername.startswith("postgres"):
        raise StartupRefused(f"the database URL is for {parsed.drivername}; Central Hub stores in PostgreSQL only")
    query = dict(parsed.query)
    sslmode = query.pop("sslmode", None)
    if sslmode is not None:
        query["ssl"] = sslmode
    if unknown := query.keys() - _URL_PARAMETERS:
        raise StartupRefused(
            f"the database URL has parameters that Central Hub does not know: {', '.join(sorted(unknown))}"
        )
    return create_async_engine(
        parsed.set(drivername="postgresql+asyncpg", query=query),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5.0,
        hide_parameters=True,
        connect_args={"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": STATEMENT_TIMEOUT_SECONDS},
    )


def cause_of(error: BaseException) -> str:
    """What is behind a StoreUnavailable, in a word: a driver's text may hold the address with credentials."""
    while isinstance(error.__cause__, Exception):  # beneath a time-out there is a cancellation, which says nothing
        error = error.__cause__
    return type(error).__name__


def _is_unavailable(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            return isinstance(error, InterfaceError | OperationalError) or _caused_by_loss(error)
        return str(state).startswith(_UNAVAILABLE_CLASSES)
    return isinstance(error, _LOST)


def _caused_by_loss(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError | TimeoutError):
            return True
        cause = cause.__cause__
    return False


def _was_stale(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated
