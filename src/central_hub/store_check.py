"""Whether a store is one that a hub may work on, and whether it is the server that it was."""

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.connections.database import Database
from central_hub.errors import StartupRefused
from central_hub.storage import configs, schema, server
from central_hub.storage.tables import SCHEMA_VERSION

log = structlog.get_logger()


class StoreCheck:
    """`is_verified` where PostgreSQL shows its settings: its durability is asserted then, and which server it is."""

    def __init__(self, database: Database, *, is_verified: bool) -> None:
        self._database = database
        self._is_verified = is_verified

    async def refuse_unfit(self) -> None:
        """Raises StartupRefused for what waiting does not mend, and StoreUnavailable."""
        async with self._database.reading() as connection:
            await _refuse_unfit(connection, verified=self._is_verified)

    async def adopt_cluster(self) -> None:
        """Begin a new epoch where the store is another server than before: commits may have been lost with that."""
        if not self._is_verified:
            return
        epoch = await self._database.transaction(_adopt_cluster)
        if epoch is not None:
            log.warning("epoch_raised", epoch=epoch, reason="the store is another server than before")


async def _refuse_unfit(connection: AsyncConnection, *, verified: bool) -> None:
    found = await schema.version(connection)
    if found != SCHEMA_VERSION:
        state = "is empty" if found is None else f"is at schema version {found}"
        raise StartupRefused(
            f"the database {state}, and this hub needs version {SCHEMA_VERSION}: run `central-hub migrate` with"
            " CENTRAL_HUB_MIGRATION_DATABASE_URL set to the owner of the tables"
        )
    if await schema.can_alter_audit(connection):
        raise StartupRefused(
            "the role of CENTRAL_HUB_DATABASE_URL could rewrite the audit log: give the hub a role of its own (CREATE"
            " ROLE central_hub LOGIN PASSWORD …), and run `central-hub migrate` as the owner: it grants what is needed"
        )
    if verified and (flaws := await server.durability_flaws(connection)):
        raise StartupRefused(
            f"PostgreSQL could lose acknowledged writes: {', '.join(flaws)}. Mend that, or set"
            " CENTRAL_HUB_DURABILITY=provider where a managed database hides its settings"
        )


async def _adopt_cluster(connection: AsyncConnection) -> int | None:
    found = await server.cluster(connection)
    if await server.is_recorded(connection, found):
        return None
    await configs.lock(connection)
    return await server.adopt_cluster(connection, found)
