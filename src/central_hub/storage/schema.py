"""Bring the tables to the version that this code needs, as their owner, and say which version they have."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.storage.tables import RUNNING_ROLE_GRANTS

_MIGRATIONS = Path(__file__).with_name("migrations")
_MIGRATION_LOCK = 0x63_68_75_62  # "chub": two hubs that start together must not migrate together


async def version(connection: AsyncConnection) -> str | None:
    """The migration that the tables are at; None for an empty database."""
    exists = await connection.scalar(sa.text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    if not exists:
        return None
    found: str | None = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


async def lock(connection: AsyncConnection) -> None:
    """Wait for the turn to migrate. Held until the end of the transaction."""
    await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


def knows(version: str) -> bool:
    """Whether there is a migration of this name."""
    return version in {script.revision for script in ScriptDirectory.from_config(_configuration()).walk_revisions()}


async def migrate(connection: AsyncConnection, *, to: str = "head") -> None:
    """Make or bring the tables to a version, under the lock; nobody is granted anything."""
    await connection.run_sync(lambda plain: _migrate(plain, to))


async def upgrade(connection: AsyncConnection, *, running_role: str) -> None:
    """Migrate to the newest version and grant `running_role` what it needs, and no more."""
    await lock(connection)
    await migrate(connection)
    role = connection.dialect.identifier_preparer.quote(running_role)
    for table, privileges in RUNNING_ROLE_GRANTS.items():
        await connection.execute(sa.text(f"REVOKE ALL ON {table} FROM {role}"))
        await connection.execute(sa.text(f"GRANT {privileges} ON {table} TO {role}"))


async def can_alter_audit(connection: AsyncConnection) -> bool:
    """Whether the connected role could rewrite the audit log."""
    return bool(
        await connection.scalar(
            sa.text(
                "SELECT bool_or(has_table_privilege(t, p)) FROM unnest(ARRAY['config_audit_log', 'config_contents']) t,"
                " unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) p"
            )
        )
    )


def _configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _migrate(connection: sa.Connection, to: str) -> None:
    config = _configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, to)
