"""A store of an earlier version is brought to this one, and then is what the code takes it for."""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import autogenerate, command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub import process
from central_hub.connections.database import Database
from central_hub.embedded import Endpoints
from central_hub.errors import StartupRefused
from central_hub.storage import schema
from central_hub.storage.tables import RUNNING_ROLE_GRANTS, SCHEMA_VERSION, metadata
from tests.conftest import DatabaseUrls, RunningHub, create_database, hub_settings
from tests.integration.instances import listed, register

BEFORE = "0002"
EARLIER = ("0001", "0002", "0005", "0006")


async def migrated_to(version: str, database: DatabaseUrls) -> None:
    def upgrade(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(resources.files("central_hub.storage") / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, version)

    await as_owner(database, lambda connection: connection.run_sync(upgrade))


async def as_owner(database: DatabaseUrls, work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
    store = Database(database.owner, pool_size=1)
    try:
        return await store.transaction(work)
    finally:
        await store.close()


@pytest.mark.parametrize("version", EARLIER)
async def test_a_store_of_an_earlier_version_is_migrated_with_what_it_holds(
    servers: Endpoints, start_hub: Callable[..., Awaitable[RunningHub]], service_name: str, version: str
) -> None:
    database = await create_database(servers)
    await migrated_to(version, database)
    hub_id = await as_owner(database, lambda connection: connection.scalar(sa.text("SELECT hub_id FROM hub_state")))
    hub = await start_hub(database)
    assert hub.service.tail.snapshot.hub_id == hub_id
    await register(hub.http, service_name)
    assert len(await listed(hub, service_name)) == 1
    schema = await hub.http.put(f"/api/v1/config/schema/{service_name}", json={"required": ["n"]})
    assert schema.status_code == 200, schema.text
    refused = await hub.http.put(f"/api/v1/config/{service_name}", json={"m": 1})
    assert refused.json()["code"] == "schema_violation"


async def test_instances_of_an_earlier_version_are_not_drained(
    servers: Endpoints, start_hub: Callable[..., Awaitable[RunningHub]], service_name: str
) -> None:
    database = await create_database(servers)
    await migrated_to("0006", database)
    await as_owner(
        database,
        lambda connection: connection.execute(
            sa.text(
                "INSERT INTO instances (service, environment, instance_id, generation, secret_sha256, capabilities,"
                " labels, metadata, weight, lease_seconds, state, registered_at, seen_at, leased_at, report, change,"
                " changed_in)"
                " VALUES (:service, 'default', 'one', 4, '', '{}', '{}', '{}', 1, 3600, 'healthy', now(), now(), now(),"
                " '{}', 1, 1)"
            ),
            {"service": service_name},
        ),
    )
    hub = await start_hub(database)
    [found] = await listed(hub, service_name)
    assert (found["generation"], found["state"], found["drain"]) == (4, "healthy", None)


async def test_a_hub_does_not_start_on_a_store_that_was_not_migrated(servers: Endpoints, tmp_path: Path) -> None:
    database = await create_database(servers)
    settings = hub_settings(servers, database, tmp_path)
    await migrated_to(BEFORE, database)
    # As `migrate` of the version before left it, but for the tables that it did not know.
    role = Database(database.running).role
    await as_owner(
        database, lambda connection: connection.execute(sa.text(f"GRANT SELECT ON alembic_version TO {role}"))
    )
    expected = f"is at schema version {BEFORE}.*needs version {SCHEMA_VERSION}"
    with process.listening_socket(settings) as listener, pytest.raises(StartupRefused, match=expected):
        await process.serve(settings, listener, asyncio.Event(), _ready)


async def test_the_migrations_make_the_tables_that_the_code_takes_for_granted(hub: RunningHub) -> None:
    def differences(connection: sa.Connection) -> list[Any]:
        found = autogenerate.compare_metadata(MigrationContext.configure(connection), metadata)
        # Comments are for the readers of tables.py.
        return [difference for difference in found if "comment" not in str(difference)]

    settings = hub.service.settings
    assert settings.migration_database_url is not None
    urls = DatabaseUrls("", settings.migration_database_url.get_secret_value())
    assert await as_owner(urls, lambda connection: connection.run_sync(differences)) == []


async def test_the_running_role_may_do_what_it_needs_and_nothing_else(hub: RunningHub) -> None:
    assert set(RUNNING_ROLE_GRANTS) == {*metadata.tables, "alembic_version"}
    privileges = "SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER".split()

    async def granted(connection: AsyncConnection) -> dict[str, set[str]]:
        return {
            table: {
                privilege
                for privilege in privileges
                if await connection.scalar(
                    sa.text("SELECT has_table_privilege(:table, :privilege)"), {"table": table, "privilege": privilege}
                )
            }
            for table in RUNNING_ROLE_GRANTS
        }

    async with hub.service.connections.database.reading() as connection:
        found = await granted(connection)
        assert not await schema.can_alter_audit(connection)
    assert found == {table: set(granted.split(", ")) for table, granted in RUNNING_ROLE_GRANTS.items()}


async def _ready(_service: Any, _url: str) -> None:
    return
