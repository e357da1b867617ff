"""The deployment's files on real servers: the roles' SQL, the NATS configuration, the image's health check."""

import asyncio
import json
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx2
import nats
import pytest
import sqlalchemy as sa
from nats.aio.client import Client
from nats.errors import Error as NatsError

from central_hub.embedded.binaries import find_nats_server, find_postgres
from tests.conftest import DatabaseUrls, Endpoints, RunningHub

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"

StartHub = Callable[..., Awaitable[RunningHub]]


@pytest.fixture(scope="module")
def own_database(servers: Endpoints) -> DatabaseUrls:
    """A database and two roles, made by the SQL that is shipped."""
    suffix = secrets.token_hex(4)
    superuser = sa.make_url(servers.migration_database_url)
    names = {"owner": f"owner_{suffix}", "role": f"role_{suffix}", "database": f"hub_{suffix}"}
    passwords = {"owner": secrets.token_urlsafe(12) + "'", "role": secrets.token_urlsafe(12) + '"\\'}
    subprocess.run(
        [
            str(find_postgres().programs / "psql"),
            "--no-psqlrc",
            *(f"--set={name}={value}" for name, value in names.items()),
            f"--file={ROOT / 'deploy' / 'postgresql' / 'roles.sql'}",
            superuser.render_as_string(hide_password=False),
        ],
        env={
            "PATH": os.environ["PATH"],
            "CENTRAL_HUB_OWNER_PASSWORD": passwords["owner"],
            "CENTRAL_HUB_ROLE_PASSWORD": passwords["role"],
        },
        check=True,
        capture_output=True,
    )

    def url(who: str) -> str:
        made = superuser.set(username=names[who], password=passwords[who], database=names["database"])
        return made.render_as_string(hide_password=False)

    return DatabaseUrls(running=url("role"), owner=url("owner"))


async def test_a_hub_runs_on_the_roles_that_the_sql_makes(own_database: DatabaseUrls, start_hub: StartHub) -> None:
    hub = await start_hub(own_database)
    answer = await hub.http.put("/api/v1/config/billing", json={"batch_size": 5})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE config_audit_log SET changed_by = 'nobody'",
        "DELETE FROM config_audit_log",
        "TRUNCATE config_audit_log CASCADE",
        "UPDATE config_contents SET content = '{}'",
        "DELETE FROM redactions",
        "ALTER TABLE config_audit_log DISABLE TRIGGER ALL",
        "CREATE TABLE mine (id int)",
    ],
)
async def test_the_running_role_cannot_rewrite_the_log(own_database: DatabaseUrls, statement: str) -> None:
    connection = await asyncpg.connect(own_database.running)
    try:
        assert await connection.fetchval("SELECT count(*) FROM config_audit_log") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_other_roles_of_the_server_cannot_enter_the_database(
    own_database: DatabaseUrls, servers: Endpoints
) -> None:
    stranger = sa.make_url(servers.database_url).set(database=sa.make_url(own_database.running).database)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(stranger.render_as_string(hide_password=False))


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator["Cluster"]:
    """Three nodes with the configuration that is shipped, moved to loopback and free ports."""
    async with AsyncExitStack() as stack:
        cluster = Cluster(tmp_path_factory.mktemp("nats"))
        for node in (1, 2, 3):
            await stack.enter_async_context(cluster.node(node))
        yield cluster


class Cluster:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._passwords = {name: f"p{secrets.token_hex(24)}" for name in ("HUB", "CLIENT", "ROUTE")}
        self._ports = _free_ports(6)

    @property
    def variables(self) -> dict[str, str]:
        routes = {
            f"NATS_ROUTE_{node}": f"nats://route:{self._passwords['ROUTE']}@{LOOPBACK}:{self._ports[2 + node]}"
            for node in (1, 2, 3)
        }
        return {f"NATS_{name}_PASSWORD": value for name, value in self._passwords.items()} | routes

    def urls(self, user: str) -> list[str]:
        return [f"nats://{user}:{self._passwords[user.upper()]}@{LOOPBACK}:{port}" for port in self._ports[:3]]

    @asynccontextmanager
    async def node(self, number: int) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            str(find_nats_server()),
            *("-c", str(ROOT / "deploy" / "nats" / "nats.conf"), "--name", f"nats-{number}"),
            *("--addr", LOOPBACK, "--port", str(self._ports[number - 1])),
            *("--cluster", f"nats://{LOOPBACK}:{self._ports[2 + number]}"),
            *("--store_dir", str(self._directory / str(number))),
            env=self.variables,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


def _free_ports(count: int) -> list[int]:
    taken = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in taken]
    for listener in taken:
        listener.close()
    return ports


def test_nats_server_accepts_the_configuration(cluster: Cluster) -> None:
    checked = subprocess.run(
        [str(find_nats_server()), "-c", str(ROOT / "deploy" / "nats" / "nats.conf"), "-t"],
        env=cluster.variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_password_that_is_missing_is_noticed_at_once() -> None:
    checked = subprocess.run(
        [str(find_nats_server()), "-c", str(ROOT / "deploy" / "nats" / "nats.conf"), "-t"],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode != 0
    assert "NATS_ROUTE_PASSWORD" in checked.stderr


@asynccontextmanager
async def connected(servers: list[str]) -> AsyncIterator[Client]:
    client = await nats.connect(servers, connect_timeout=2)
    try:
        yield client
    finally:
        await client.close()


async def test_a_hub_announces_on_the_cluster_and_the_fleets_credentials_hear_it(
    cluster: Cluster, start_hub: StartHub
) -> None:
    hub = await start_hub(nats_url=",".join(cluster.urls("hub")))
    await _announcing(hub)
    async with connected(cluster.urls("client")) as client:
        heard = await client.subscribe("config.update.>")
        bookmarks = await client.subscribe("config.bookmark")
        await client.flush()
        answer = (await hub.http.put("/api/v1/config/billing", json={"batch_size": 5})).json()
        assert answer["announced"] is True
        message = await heard.next_msg(timeout=5)
        assert message.subject == "config.update.billing"
        assert json.loads(message.data)["config"] == {"batch_size": 5}
        assert json.loads((await bookmarks.next_msg(timeout=5)).data)["revision"] >= 0
        last = await client.request("$JS.API.DIRECT.GET.CONFIG_UPDATES.config.update.billing", timeout=5)
        assert last.data == message.data
    async with connected(cluster.urls("hub")) as administrator:
        stream = await administrator.jetstream().stream_info("CONFIG_UPDATES")
        assert stream.config.num_replicas == 3


@pytest.mark.parametrize(
    "subject", ["config.update.billing", "config.bookmark", "$JS.API.STREAM.DELETE.CONFIG_UPDATES"]
)
async def test_the_fleets_credentials_can_publish_nothing(cluster: Cluster, subject: str) -> None:
    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def on_error(error: Exception) -> None:
        if not refused.done():
            refused.set_result(str(error).lower())

    client = await nats.connect(cluster.urls("client"), connect_timeout=2, error_cb=on_error)
    try:
        await client.publish(subject, b"{}")
        assert "permissions violation" in await asyncio.wait_for(refused, 5)
    finally:
        await client.close()


async def test_nobody_enters_the_cluster_without_a_password(cluster: Cluster) -> None:
    with pytest.raises((NatsError, OSError)):
        await nats.connect(
            [url.replace("hub:", "hub:wrong") for url in cluster.urls("hub")],
            connect_timeout=2,
            max_reconnect_attempts=0,
            allow_reconnect=False,
        )


async def _announcing(hub: RunningHub) -> None:
    # A cluster elects a leader for the stream before it takes the first message.
    async with asyncio.timeout(20):
        while not (await hub.http.get("/api/v1/health")).json()["components"]["nats"]["ok"]:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.1)


def _health_check() -> list[str]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^HEALTHCHECK [^\n]*\\\n\s*CMD (\[.*\])$", text, re.MULTILINE)
    assert found is not None
    command: list[str] = json.loads(found[1])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


async def test_the_images_health_check_passes_on_a_hub_that_serves_and_fails_on_none(hub: RunningHub) -> None:
    port = httpx2.URL(hub.url).port
    (closed,) = _free_ports(1)
    for asked, healthy in ((port, True), (closed, False)):
        process = await asyncio.create_subprocess_exec(
            *_health_check(), env={"CENTRAL_HUB_PORT": str(asked)}, stderr=asyncio.subprocess.DEVNULL
        )
        assert (await process.wait() == 0) is healthy
