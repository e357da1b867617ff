"""The embedded PostgreSQL: a cluster of one database, reachable through a socket in a private directory alone."""

import asyncio
import os
import re
import secrets
import shutil
import stat
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from signal import Signals
from typing import Final
from urllib.parse import quote, urlsplit

import asyncpg
import structlog

from central_hub.embedded.binaries import POSTGRES_MAJOR, PostgresInstallation, reachable_postgres
from central_hub.embedded.directory import DataDirectory
from central_hub.embedded.leftovers import end_processes
from central_hub.embedded.process import NotReady, Program, exit_status, start_child
from central_hub.embedded.supervisor import supervise
from central_hub.errors import StartupRefused

ROLE: Final = "central_hub"
OWNER: Final = "central_hub_owner"
DATABASE: Final = "central_hub"
URL_FILE: Final = "database.url"
OWNER_URL_FILE: Final = "database.owner.url"

_CLUSTER: Final = "postgres"
_UNFINISHED_CLUSTER: Final = "postgres.new"
_LOCK_FILE: Final = "postmaster.pid"
_PORT: Final = 5432
# SIGINT is the fast shutdown, which ends the sessions; SIGQUIT the immediate one, after which the log is replayed.
_STOP_SIGNALS: Final = ((Signals.SIGINT, 10.0), (Signals.SIGQUIT, 5.0))
# macOS takes 104 bytes with the final NUL, Linux 108.
_LONGEST_SOCKET_PATH: Final = 103
_CONNECT_TIMEOUT_SECONDS: Final = 5.0

log = structlog.get_logger()


async def start(
    directory: DataDirectory, installation: PostgresInstallation, running: AsyncExitStack
) -> tuple[str, str]:
    """Start the server, to be stopped by `running`, and set it up where that was not done or not finished.

    Returns the URL of the running role and that of the owner. Raises StartupRefused.
    """
    installation = await asyncio.to_thread(reachable_postgres, installation, directory)
    cluster = directory.path / _CLUSTER
    owner_password = _password(directory, OWNER_URL_FILE)
    role_password = _password(directory, URL_FILE)
    sockets = _socket_directory(directory)
    owner_url = _url(OWNER, owner_password, sockets)
    role_url = _url(ROLE, role_password, sockets)
    # The database that initdb makes: there before ours is.
    maintenance_url = _url(OWNER, owner_password, sockets, database="postgres")
    if not cluster.exists():
        # Before the cluster: it is of no use without the password.
        directory.write(OWNER_URL_FILE, owner_url)
        await _initialise(installation, directory, cluster, owner_password)
    _refuse_another_major(cluster)
    locks = (cluster / _LOCK_FILE, sockets / f".s.PGSQL.{_PORT}.lock")

    async def clear() -> None:
        await end_leftovers(directory)
        for lock in locks:
            # The number in it may be another process's by now, which PostgreSQL would take for a server on this data.
            lock.unlink(missing_ok=True)

    configuration = directory.write_for_servers("postgres.conf", _configuration(sockets))

    program = Program(
        name="PostgreSQL",
        argv=(str(installation.postgres), "-D", str(cluster), "-c", f"config_file={configuration}"),
        directory=cluster,
        account=directory.account,
        log_path=directory.subdirectory("log") / "postgres.log",
        stop_signals=_STOP_SIGNALS,
        probe=lambda: _probe(cluster, maintenance_url),
        end_leftovers=clear,
    )
    if any(lock.exists() for lock in locks):
        await clear()
    running.push_async_callback((await supervise(program)).stop)
    try:
        if not await _is_set_up(role_url):
            await _set_up(maintenance_url, role_password)
    except (OSError, asyncpg.PostgresError) as error:
        raise StartupRefused(f"PostgreSQL could not be set up: {error or type(error).__name__}") from error
    directory.write(OWNER_URL_FILE, owner_url)
    directory.write(URL_FILE, role_url)
    return role_url, owner_url


async def end_leftovers(directory: DataDirectory) -> None:
    """End the server, or the making of the cluster, that a killed hub has left."""
    # initdb runs PostgreSQL through a shell.
    await asyncio.to_thread(end_processes, {"initdb", "sh", "postgres"}, directory.path / _UNFINISHED_CLUSTER, ())
    await asyncio.to_thread(end_processes, {"postgres"}, directory.path / _CLUSTER, _STOP_SIGNALS)


async def _initialise(
    installation: PostgresInstallation, directory: DataDirectory, cluster: Path, password: str
) -> None:
    """Make the cluster under another name and rename it, so that it is whole or not there."""
    unfinished = directory.path / _UNFINISHED_CLUSTER
    if unfinished.exists():
        await asyncio.to_thread(shutil.rmtree, unfinished)
    directory.subdirectory_for_servers(unfinished.name)
    password_file = directory.write_for_servers(".initdb-password", password + "\n")
    argv = (
        str(installation.initdb),
        f"--pgdata={unfinished}",
        f"--username={OWNER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
    )
    try:
        with tempfile.TemporaryFile(dir=directory.path) as output:
            process = start_child(argv, unfinished, directory.account, output)
            ended = exit_status(process)
            try:
                status = await asyncio.shield(ended)
            except asyncio.CancelledError:
                os.killpg(process.pid, Signals.SIGKILL)
                await ended
                raise
            if status != 0:
                output.seek(0)
                raise StartupRefused(f"PostgreSQL could not be set up: {_reason(output.read())}")
    finally:
        password_file.unlink()
    unfinished.rename(cluster)
    directory.sync()
    log.info("database_initialised", major=POSTGRES_MAJOR)


async def _is_set_up(role_url: str) -> bool:
    try:
        await _connect_and_leave(role_url)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError):
        return False
    return True


async def _set_up(maintenance_url: str, role_password: str) -> None:
    """Make the role and the database. Each step finds out whether it was done: a crash may have come."""
    connection = await asyncpg.connect(maintenance_url, timeout=_CONNECT_TIMEOUT_SECONDS)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
            await connection.execute(f"CREATE ROLE {ROLE}")
        # A utility statement takes no parameters; the password is made of letters, digits, - and _ alone.
        await connection.execute(
            f"ALTER ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
            f" PASSWORD '{role_password}'"
        )
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    finally:
        await connection.close()


async def _probe(cluster: Path, maintenance_url: str) -> None:
    # As pg_ctl does: asking a server that is still starting would fill its log with refusals.
    if not (cluster / _LOCK_FILE).is_file() or "\nready" not in (cluster / _LOCK_FILE).read_text():
        raise NotReady("it is starting")
    try:
        await _connect_and_leave(maintenance_url)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError) as error:
        raise NotReady(str(error) or type(error).__name__) from error
    except asyncpg.TooManyConnectionsError:
        return
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise StartupRefused(
            f"PostgreSQL refuses the password in {OWNER_URL_FILE}: put back the file as it was when the database was"
            " made; it is the only place of that password"
        ) from error


async def _connect_and_leave(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_SECONDS)
    await connection.close()


def _password(directory: DataDirectory, url_file: str) -> str:
    """The password in a URL that was given out before, or a new one: letters, digits, - and _ alone."""
    password = urlsplit(directory.read(url_file)).password or ""
    return password if re.fullmatch(r"[\w-]+", password, re.ASCII) else secrets.token_urlsafe(24)


def _url(user: str, password: str, sockets: Path, *, database: str = DATABASE) -> str:
    # With the port, or PGPORT in the environment of whoever uses it would count.
    return f"postgresql://{user}:{password}@/{database}?host={quote(str(sockets))}&port={_PORT}"


def _refuse_another_major(cluster: Path) -> None:
    major = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    if major != str(POSTGRES_MAJOR):
        raise StartupRefused(
            f"{cluster} was made by PostgreSQL {major}, and this version of Central Hub brings {POSTGRES_MAJOR}: run"
            " `central-hub backup` with the version that made it, then `central-hub restore` with this one and a new"
            " --data-dir"
        )


def _reason(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if "error:" in line or "FATAL:" in line]
    return errors[0] if errors else " ".join(lines[-2:])


def _configuration(sockets: Path) -> str:
    """postgresql.conf. Never statements or details of errors in the log: they hold what is being stored."""
    return f"""\
# Written at every start of the hub.
listen_addresses = ''
unix_socket_directories = {_conf_string(f'"{sockets}"')}
unix_socket_permissions = 0700
port = {_PORT}
max_connections = 100
shared_buffers = 64MB
max_wal_size = 256MB
jit = off
fsync = on
full_page_writes = on
synchronous_commit = on
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
log_min_error_statement = panic
log_error_verbosity = terse
"""


def _conf_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _socket_directory(directory: DataDirectory) -> Path:
    """`run` in the data directory, or where that path is too long for a socket, a private one for temporary files."""
    if _fits_a_socket(directory.path / "run"):
        return directory.subdirectory_for_servers("run")
    recorded = directory.read("run.path")
    if recorded and _make_private(Path(recorded), directory):
        return Path(recorded)
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - taken with mkdtemp
        reachable = directory.account is None or directory.account.closed_parent(parent / "x") is None
        if reachable and _fits_a_socket(parent / "central-hub-12345678"):
            path = Path(tempfile.mkdtemp(prefix="central-hub-", dir=parent))
            directory.give_to_servers(path)
            directory.write("run.path", str(path))
            return path
    raise StartupRefused(
        f"the path of the data directory {directory.path} is too long for a socket, and so is that of the directory for"
        " temporary files: name a shorter one with --data-dir"
    )


def _fits_a_socket(sockets: Path) -> bool:
    # A comma would separate two hosts in a URL, a quote ends the name in postgresql.conf.
    is_plain = not set(str(sockets)) & set(',"\n')
    return is_plain and len(os.fsencode(sockets / f".s.PGSQL.{_PORT}")) <= _LONGEST_SOCKET_PATH


def _make_private(path: Path, directory: DataDirectory) -> bool:
    """Make a directory again that was cleaned away. False where somebody else has put one there meanwhile."""
    try:
        path.mkdir(mode=0o700)
        directory.give_to_servers(path)
    except FileExistsError:
        status = path.lstat()
        expected = os.geteuid() if directory.account is None else directory.account.uid
        return stat.S_ISDIR(status.st_mode) and status.st_uid == expected and stat.S_IMODE(status.st_mode) == 0o700
    except OSError:
        return False
    return True
