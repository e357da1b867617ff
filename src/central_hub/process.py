"""One hub process: its servers where it brings them along, the service, and HTTP; started and stopped in order."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from pydantic import SecretStr

from central_hub.api.app import create_app
from central_hub.api.limits import BoundedHttpProtocol, BoundedServer, ConnectionLimits
from central_hub.connections.database import Database
from central_hub.embedded import EmbeddedServers
from central_hub.errors import StartupRefused
from central_hub.service import CentralHubService
from central_hub.settings import HubSettings
from central_hub.storage import schema
from central_hub.storage.tables import SCHEMA_VERSION

DRAIN_SECONDS: Final = 5
FILES_BESIDE_CONNECTIONS: Final = 256

log = structlog.get_logger()

Ready = Callable[[CentralHubService, str], Awaitable[None]]


def run(hub: Coroutine[Any, Any, None]) -> None:
    """Run one of the functions below to its end, on the fast event loop where there is one."""
    if sys.platform == "win32":
        asyncio.run(hub)
    else:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(hub)


async def run_embedded(settings: HubSettings, on_ready: Ready) -> None:
    """Run a hub with a PostgreSQL and a NATS of its own until it is told to stop. Raises StartupRefused."""
    with listening_socket(settings) as listener, _stop_signals() as stop:
        servers = EmbeddedServers(settings.data_dir)
        endpoints = await servers.start()
        try:
            settings = settings.model_copy(
                update={
                    "database_url": SecretStr(endpoints.database_url),
                    "migration_database_url": SecretStr(endpoints.migration_database_url),
                    "nats_url": SecretStr(endpoints.nats_url),
                }
            )
            await migrate(settings)
            await serve(settings, listener, stop, on_ready)
        finally:
            await servers.stop()


async def run_on_own_servers(settings: HubSettings, on_ready: Ready) -> None:
    """Run a hub on the PostgreSQL and NATS of the settings until it is told to stop. Raises StartupRefused."""
    with listening_socket(settings) as listener, _stop_signals() as stop:
        await serve(settings, listener, stop, on_ready)


async def migrate(settings: HubSettings) -> bool:
    """Bring the tables to this version and grant the running role its rights. False where nothing was to be done.

    Raises StartupRefused, StoreUnavailable.
    """
    if settings.migration_database_url is None or settings.database_url is None:
        raise StartupRefused(
            "migrating needs CENTRAL_HUB_MIGRATION_DATABASE_URL (the owner of the tables) and CENTRAL_HUB_DATABASE_URL"
            " (the role that the hub runs as, which is granted its rights)"
        )
    running_role = Database(settings.database_url.get_secret_value()).role
    owner = Database(settings.migration_database_url.get_secret_value(), pool_size=1)
    if running_role in ("", owner.role):
        raise StartupRefused(
            "the hub must run as another role than the owner of the tables, or it could rewrite the audit log:"
            " CREATE ROLE central_hub LOGIN PASSWORD '…', and name it in CENTRAL_HUB_DATABASE_URL"
        )
    try:
        async with owner.reading() as connection:
            if await schema.version(connection) == SCHEMA_VERSION:
                return False
        await owner.transaction(lambda connection: schema.upgrade(connection, running_role=running_role))
    finally:
        await owner.close()
    log.info("migrated", version=SCHEMA_VERSION)
    return True


@contextlib.contextmanager
def listening_socket(settings: HubSettings) -> Iterator[socket.socket]:
    """The bound socket, taken before anything is started. Raises StartupRefused where the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, accepted sockets name it too, and only then does asyncio's own loop set TCP_NODELAY on
    # them (uvloop always does). Without it every answer waits 40 ms for the acknowledgement of its first packet.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StartupRefused(
                    f"port {settings.port} on {settings.host} is taken by another program: stop it, or choose another"
                    " port with --port or CENTRAL_HUB_PORT"
                ) from error
            raise StartupRefused(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from error
        yield listener


async def serve(settings: HubSettings, listener: socket.socket, stop: asyncio.Event, on_ready: Ready) -> None:
    """Serve on a bound socket until `stop` is set. Raises StartupRefused."""
    _allow_open_files(settings.max_connections + FILES_BESIDE_CONNECTIONS)
    hub = CentralHubService(settings)
    server = _Server(_server_config(settings, hub))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    starting = asyncio.create_task(_start(hub, address(settings, listener), on_ready), name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({serving, starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        log.info("stopping")
        for task in (starting, stopping):
            task.cancel()
        hub.drain()
        server.should_exit = True
        await asyncio.gather(serving, starting, stopping, return_exceptions=True)
        await hub.stop()


async def _start(hub: CentralHubService, url: str, on_ready: Ready) -> None:
    await hub.start()
    await on_ready(hub, url)


def _allow_open_files(wanted: int) -> None:
    """Raise the limit that most systems set to 1,024 as far as this process may."""
    if sys.platform == "win32":
        return
    import resource

    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _server_config(settings: HubSettings, hub: CentralHubService) -> uvicorn.Config:
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        raise StartupRefused("TLS needs both CENTRAL_HUB_TLS_CERT_FILE and CENTRAL_HUB_TLS_KEY_FILE")
    for file in (settings.tls_cert_file, settings.tls_key_file):
        if file is not None and not file.is_file():
            raise StartupRefused(f"there is no file {file}")
    proxies = settings.trusted_proxies
    return uvicorn.Config(
        create_app(hub),
        http=BoundedHttpProtocol.within(ConnectionLimits(max_connections=settings.max_connections)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        ssl_certfile=_text(settings.tls_cert_file),
        ssl_keyfile=_text(settings.tls_key_file),
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=2048,
    )


def address(settings: HubSettings, listener: socket.socket) -> str:
    """The URL under which a caller on this machine reaches the hub."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    scheme = "http" if settings.tls_cert_file is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@contextlib.contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """An event that is set by Ctrl-C, SIGTERM and a terminal that is closed, also while starting."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    caught = [signal.SIGINT, signal.SIGTERM]
    for number in caught:
        loop.add_signal_handler(number, stop.set)
    # Under nohup it is ignored, and stays so. Otherwise it would end this process and leave the servers behind.
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        caught.append(signal.SIGHUP)
        loop.add_signal_handler(signal.SIGHUP, _hang_up, stop)
    try:
        yield stop
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


def _hang_up(stop: asyncio.Event) -> None:
    # What is written to a terminal that is gone is an error, also to a log that tells how the hub stops.
    with Path(os.devnull).open("wb") as nowhere:
        for stream in (1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere.fileno(), stream)
    stop.set()


class _Server(BoundedServer):
    """The server without signal handlers of its own: the order in which a hub stops is ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
