"""A fleet that is made to be broken: PostgreSQL, NATS and hubs as child processes, killed, frozen and started again.

Each is a real process on the same port and the same data at every start. Nothing restarts by itself: a test decides
what is dead, and for how long.
"""

import asyncio
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import httpx2
import psutil

from central_hub import process
from central_hub.embedded import EmbeddedServers, Endpoints
from central_hub.embedded.account import account_for_servers
from central_hub.embedded.binaries import find_nats_server, find_postgres, reachable_nats_server, reachable_postgres
from central_hub.embedded.directory import DataDirectory
from central_hub.embedded.process import start_child
from central_hub.security.tokens import generate
from central_hub.settings import HubSettings
from tests.conftest import DatabaseUrls, create_database, hub_settings
from tests.faults import replica

READY_SECONDS = 30.0

# Hubs are forked from a process that has imported everything: importing takes longer than starting.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.faults.replica"])


class Breakable(Protocol):
    """A process that a fault schedule may kill and start again."""

    name: str

    async def kill(self) -> None: ...

    async def start(self) -> None: ...


class Server:
    """PostgreSQL or NATS, on a directory that the embedded servers have set up."""

    def __init__(self, name: str, argv: tuple[str, ...], directory: Path, probe: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self.kills = 0
        self._argv = argv
        self._directory = directory
        self._account = account_for_servers(directory)
        self._probe = probe
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start and wait until it answers."""
        if self._process is not None:
            return
        # Its number may belong to another process by now, and PostgreSQL would take that for a server on this data.
        (self._directory / "postmaster.pid").unlink(missing_ok=True)
        with (self._directory.parent / f"{self.name}.log").open("ab") as output:
            self._process = start_child(self._argv, self._directory, self._account, output)
        await _until_ready(self.name, self._probe)

    async def kill(self) -> None:
        """SIGKILL to the server and all of its children at once."""
        if self._process is None:
            return
        self.kills += 1
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and nothing answers."""
        for child in self._family():
            child.suspend()

    def thaw(self) -> None:
        for child in self._family():
            child.resume()

    def stop(self) -> None:
        if self._process is not None:
            self.thaw()
            self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        family = self._family()
        for member in family if number == signal.SIGKILL else family[:1]:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        self._process.wait(10)
        # Before the next start: a process of the old server must not touch the data of the new one.
        while any(_is_alive(member) for member in family):
            time.sleep(0.005)
        self._process = None

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        leader = psutil.Process(self._process.pid)
        return [leader, *leader.children(recursive=True)]


class Hub:
    """One replica in a process of its own."""

    def __init__(self, name: str, settings: HubSettings, token: str, log: Path) -> None:
        self.name = name
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.port}"
        self.http = httpx2.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=15)
        self.kills = 0
        self._log = log
        self._process: BaseProcess | None = None

    async def start(self, failpoint: str = "") -> None:
        """Start and wait until it is ready. `failpoint` names a function of `replica` that breaks the process, and
        after a colon what it is called with."""
        if self._process is not None:
            return
        self.launch(failpoint)
        await self.ready()

    def launch(self, failpoint: str = "") -> None:
        """Start without waiting."""
        self._process = _processes.Process(target=replica.run, args=(self.settings, self._log, os.getpid(), failpoint))
        self._process.start()

    async def ready(self) -> None:
        async def probe() -> None:
            assert self._process is None or self._process.exitcode is None, f"{self.name} ended: {self.log()[-3000:]}"
            answer = await self.http.get("/health/ready", timeout=2)
            if answer.status_code != 200:
                raise ConnectionError(answer.text)

        await _until_ready(self.name, probe)

    async def kill(self) -> None:
        if self._process is None:
            return
        self.kills += 1
        self._process.kill()
        await self.ended()

    async def ended(self) -> int | None:
        """Wait until the process has ended, by whatever cause."""
        assert self._process is not None
        await asyncio.to_thread(self._process.join, 15)
        status, self._process = self._process.exitcode, None
        return status

    def freeze(self) -> None:
        os.kill(self._pid(), signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid(), signal.SIGCONT)

    def is_frozen(self) -> bool:
        return psutil.Process(self._pid()).status() == psutil.STATUS_STOPPED

    async def stop(self) -> None:
        await self.http.aclose()
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            await self.ended()

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def _pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid


@dataclass
class Fleet:
    """Servers of its own and any number of replicas on one database."""

    directory: Path
    endpoints: Endpoints
    database: DatabaseUrls
    postgres: Server
    nats: Server
    token: str
    hubs: list[Hub] = field(default_factory=list)

    def add_hub(self, **changes: Any) -> Hub:
        """Another replica, not started yet. It keeps its port, key and token over restarts."""
        name = f"hub-{len(self.hubs) + 1}"
        token_file = self.directory / "admin.token"
        settings = hub_settings(
            self.endpoints,
            self.database,
            self.directory / name,
            port=free_port(),
            admin_token_file=token_file,
            log_format="json",
            **changes,
        )
        hub = Hub(name, settings, self.token, self.directory / f"{name}.log")
        self.hubs.append(hub)
        return hub

    async def as_superuser(self) -> asyncpg.Connection:
        """A connection that may do anything to the hub's database."""
        return await asyncpg.connect(self.database.owner)

    async def stop(self) -> None:
        for hub in self.hubs:
            await hub.stop()
        self.nats.stop()
        self.postgres.stop()


@asynccontextmanager
async def own_fleet(hubs: int) -> AsyncIterator[Fleet]:
    """Servers and replicas that nobody else uses, started."""
    directory = Path(tempfile.mkdtemp(prefix="central-hub-faults-"))
    try:
        endpoints = await _set_up(directory / "servers")
        fleet = await _start_servers(directory, endpoints)
        try:
            for _ in range(hubs):
                fleet.add_hub()
            await asyncio.gather(*(hub.start() for hub in fleet.hubs))
            yield fleet
        finally:
            await fleet.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _set_up(directory: Path) -> Endpoints:
    """Let the embedded servers make their data, credentials and configurations, and stop them again."""
    directory.parent.chmod(0o711)
    servers = EmbeddedServers(directory)
    endpoints = await servers.start()
    await servers.stop()
    return endpoints


async def _start_servers(directory: Path, endpoints: Endpoints) -> Fleet:
    place = directory / "servers"
    data = DataDirectory(place)
    data.account = account_for_servers(place / "postgres")
    postgres = reachable_postgres(find_postgres(), data).postgres
    nats = reachable_nats_server(find_nats_server(), data)

    async def ask_postgres() -> None:
        connection = await asyncpg.connect(endpoints.migration_database_url, timeout=2)
        await connection.close()

    async def ask_nats() -> None:
        url = urlsplit(endpoints.nats_url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        await reader.readline()
        writer.close()

    configuration = f"config_file={place / 'postgres.conf'}"
    servers = (
        Server(
            "postgres",
            (str(postgres), "-D", str(place / "postgres"), "-c", configuration),
            place / "postgres",
            ask_postgres,
        ),
        Server("nats", (str(nats), "--config", str(place / "nats.conf")), place / "nats", ask_nats),
    )
    await asyncio.gather(*(server.start() for server in servers))
    database = await create_database(endpoints)
    token = generate()
    (directory / "admin.token").write_text(token)
    await process.migrate(hub_settings(endpoints, database, directory))
    return Fleet(directory, endpoints, database, *servers, token)


def unix_socket(url: str) -> str:
    """The path of the socket that a database URL of the embedded PostgreSQL names."""
    query = parse_qs(urlsplit(url).query)
    return f"{unquote(query['host'][0])}/.s.PGSQL.{query['port'][0]}"


def over_tcp(url: str, port: int) -> str:
    """The same database and role, reached through a port on loopback."""
    parts = urlsplit(url)
    credentials = parts.netloc.rpartition("@")[0]
    return f"postgresql://{credentials}@127.0.0.1:{port}{parts.path}"


def free_port() -> int:
    """Below the ports that systems give to outgoing connections, so that nobody takes it while its owner is dead."""
    while True:
        port = 10_240 + secrets.randbelow(22_000)
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                candidate.bind(("127.0.0.1", port))
                return port


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _until_ready(name: str, probe: Callable[[], Awaitable[None]]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return await probe()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, httpx2.HTTPError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} does not answer: {error!r}") from error
            await asyncio.sleep(0.02)
