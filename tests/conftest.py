"""Real servers for the tests: one PostgreSQL and one NATS a session, one database a module, hubs in this process."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from central_hub import process
from central_hub.embedded import EmbeddedServers, Endpoints
from central_hub.service import CentralHubService
from central_hub.settings import HubSettings
from tests.data_directory import data_directory


@dataclass(frozen=True)
class DatabaseUrls:
    """One database, as the two roles that use it (libpq URLs)."""

    running: str
    owner: str


@dataclass
class RunningHub:
    """A hub that answers, with a client that holds its admin token."""

    service: CentralHubService
    url: str
    token: str
    http: httpx2.AsyncClient
    stop: Callable[[], Awaitable[None]]

    def client(self, token: str | None) -> httpx2.AsyncClient:
        """Another client of the same hub: with this token, or with none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    async def new_token(self, **fields: Any) -> str:
        """A token made through the API; by default one that reads everything but `_global`."""
        body = {"name": "test", "verbs": ["read"], "services": ["*"], "environments": ["*"]} | fields
        answer = await self.http.post("/api/v1/tokens", json=body)
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["token"]
        return token


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Endpoints]:
    """PostgreSQL and NATS, started for this session."""
    with data_directory() as path:
        embedded = EmbeddedServers(path)
        yield await embedded.start()
        await embedded.stop()


async def create_database(servers: Endpoints) -> DatabaseUrls:
    """A new, empty database on the session's server."""
    name = f"test_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(servers.migration_database_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return DatabaseUrls(_on(servers.database_url, name), _on(servers.migration_database_url, name))


def hub_settings(servers: Endpoints, database: DatabaseUrls, data_dir: Path, **changes: Any) -> HubSettings:
    """The settings of a hub on the session's servers, on a free port, with nothing from the environment."""
    values = {
        "database_url": SecretStr(database.running),
        "migration_database_url": SecretStr(database.owner),
        "nats_url": SecretStr(servers.nats_url),
        "data_dir": data_dir,
        "host": "127.0.0.1",
        "port": 0,
    }
    return HubSettings(**(values | changes))


@asynccontextmanager
async def running_hub(settings: HubSettings) -> AsyncIterator[RunningHub]:
    """A hub of its own in this process, migrated, until the block ends."""
    await process.migrate(settings)
    ready: asyncio.Future[tuple[CentralHubService, str]] = asyncio.get_running_loop().create_future()

    async def on_ready(service: CentralHubService, url: str) -> None:
        ready.set_result((service, url))

    stop = asyncio.Event()
    with process.listening_socket(settings) as listener:
        task = asyncio.create_task(process.serve(settings, listener, stop, on_ready))

        async def end() -> None:
            stop.set()
            await task

        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        service, url = await ready
        token = settings.admin_token_path.read_text().strip()
        async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
            yield RunningHub(service, url, token, http, end)
        await end()


@pytest.fixture(scope="module")
async def database(servers: Endpoints) -> DatabaseUrls:
    """A database for the tests of one module."""
    return await create_database(servers)


@pytest.fixture(scope="module")
async def hub(
    servers: Endpoints, database: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningHub]:
    """A hub for the tests of one module."""
    async with running_hub(hub_settings(servers, database, tmp_path_factory.mktemp("hub"))) as running:
        yield running


@pytest.fixture
async def start_hub(
    servers: Endpoints, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[..., Awaitable[RunningHub]]]:
    """Start further hubs: on a database given, or on one of their own."""
    async with AsyncExitStack() as stack:

        async def start(on: DatabaseUrls | None = None, **changes: Any) -> RunningHub:
            urls = on or await create_database(servers)
            settings = hub_settings(servers, urls, tmp_path_factory.mktemp("hub"), **changes)
            return await stack.enter_async_context(running_hub(settings))

        yield start


@pytest.fixture
def service_name() -> str:
    """A service that no other test uses."""
    return f"svc-{secrets.token_hex(4)}"


def _on(url: str, database: str) -> str:
    return sa.make_url(url).set(database=database).render_as_string(hide_password=False)
