"""Hubs under measurement: `central-hub serve` as it is installed, on a PostgreSQL and a NATS that the bench starts."""

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2
import sqlalchemy as sa

from bench.server import Server, free_port, running
from central_hub.embedded import EmbeddedServers, Endpoints

CENTRAL_HUB: Final = str(Path(sys.executable).with_name("central-hub"))


@dataclass(frozen=True)
class Servers:
    """PostgreSQL and NATS, and a directory for what the bench writes."""

    endpoints: Endpoints
    directory: Path

    async def new_database(self) -> tuple[str, str]:
        """An empty database: its URL for the role that runs, and for its owner."""
        name = f"bench_{secrets.token_hex(4)}"
        connection = await asyncpg.connect(self.endpoints.migration_database_url)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        urls = (self.endpoints.database_url, self.endpoints.migration_database_url)
        running_url, owner_url = (
            sa.make_url(url).set(database=name).render_as_string(hide_password=False) for url in urls
        )
        return running_url, owner_url


@dataclass(frozen=True)
class Hub(Server):
    """A hub with a client that holds its admin token."""

    token: str = field(repr=False)
    http: httpx2.AsyncClient = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def put(self, service: str, config: dict[str, Any]) -> None:
        """Create a document."""
        answer = await self.http.put(f"/api/v1/config/{service}", json=config)
        answer.raise_for_status()


@asynccontextmanager
async def own_servers() -> AsyncIterator[Servers]:
    """Start PostgreSQL and NATS in a temporary directory, durable as in production."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as files, tempfile.TemporaryDirectory() as data_dir:
        servers = EmbeddedServers(Path(data_dir))
        endpoints = await servers.start()
        try:
            yield Servers(endpoints, Path(files))
        finally:
            await servers.stop()


@asynccontextmanager
async def running_hub(
    servers: Servers,
    database: tuple[str, str] | None = None,
    *,
    max_connections: int = 4096,
    infrastructure: Path | None = None,
) -> AsyncIterator[Hub]:
    """A hub of its own on a database given, or on a new one; it probes what is in the file of the infrastructure."""
    database_url, owner_url = database or await servers.new_database()
    port = free_port()
    data_dir = Path(tempfile.mkdtemp(dir=servers.directory))
    environment = {
        "CENTRAL_HUB_DATABASE_URL": database_url,
        "CENTRAL_HUB_MIGRATION_DATABASE_URL": owner_url,
        "CENTRAL_HUB_NATS_URL": servers.endpoints.nats_url,
        "CENTRAL_HUB_DATA_DIR": str(data_dir),
        "CENTRAL_HUB_PORT": str(port),
        "CENTRAL_HUB_MAX_CONNECTIONS": str(max_connections),
        "CENTRAL_HUB_LOG_LEVEL": "info",
    }
    if infrastructure is not None:
        environment["CENTRAL_HUB_INFRASTRUCTURE_FILE"] = str(infrastructure)
    log = data_dir / "hub.log"
    await _run(environment, log, "migrate")
    async with running(
        [CENTRAL_HUB, "serve"], port, log=log, ready_path="/health/ready", environment=environment
    ) as server:
        token = (data_dir / "admin.token").read_text().strip()
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
            yield Hub(server.port, server.process, token, http)


async def _run(environment: dict[str, str], log: Path, command: str) -> None:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            CENTRAL_HUB, command, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    if await process.wait() != 0:
        raise RuntimeError(f"central-hub {command} failed: see {log}")
