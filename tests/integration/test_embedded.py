"""The embedded servers as a hub sees them: started, used, found again after they were killed, stopped."""

# ruff: noqa: ASYNC110, ASYNC240 - a test has its event loop for itself

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from signal import Signals

import asyncpg
import nats
import pytest
from nats.errors import NoServersError

from central_hub.embedded import EmbeddedServers, Endpoints
from central_hub.embedded import nats as embedded_nats
from central_hub.embedded.process import LOG_BYTES
from tests.integration.embedded_hub import data_directory, server_pid, server_processes


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with data_directory() as path:
        yield path


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[tuple[Path, Endpoints]]:
    with data_directory() as path:
        servers = EmbeddedServers(path)
        yield path, await servers.start()
        await servers.stop()


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def query_soon(url: str, sql: str) -> object:
    """The answer of a server that is coming back."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await query(url, sql)
            except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.02)


async def test_servers_are_ready_quickly_and_keep_their_addresses(data_dir: Path) -> None:
    endpoints, seconds = [], []
    for _ in range(3):
        servers = EmbeddedServers(data_dir)
        began = time.perf_counter()
        endpoints.append(await servers.start())
        seconds.append(time.perf_counter() - began)
        assert await query(endpoints[-1].database_url, "SELECT 1") == 1
        await servers.stop()
    print(f"ready after {seconds[0]:.2f} s, later after {seconds[1]:.2f} s and {seconds[2]:.2f} s")
    assert endpoints[0] == endpoints[1] == endpoints[2]
    assert seconds[0] < 10
    assert min(seconds[1:]) < 4


async def test_what_was_stored_is_there_after_a_stop(data_dir: Path) -> None:
    for expected in (0, 1, 2):
        servers = EmbeddedServers(data_dir)
        endpoints = await servers.start()
        connection = await asyncpg.connect(endpoints.migration_database_url)
        await connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        assert await connection.fetchval("SELECT count(*) FROM note") == expected
        await connection.execute("INSERT INTO note VALUES ('kept')")
        await connection.close()
        await servers.stop()


async def test_stopping_leaves_no_process_and_frees_the_directory(data_dir: Path) -> None:
    servers = EmbeddedServers(data_dir)
    endpoints = await servers.start()
    started = {process.name() for process in server_processes(data_dir)}
    connection = await asyncpg.connect(endpoints.database_url)  # a session does not hold up the end
    await servers.stop()
    assert {"postgres", "nats-server"} <= started
    assert server_processes(data_dir) == []
    assert (data_dir / "hub.pid").read_text() == ""
    connection.terminate()
    again = EmbeddedServers(data_dir)
    await again.start()
    await again.stop()


async def test_stopping_twice_or_before_the_start_does_nothing(data_dir: Path) -> None:
    servers = EmbeddedServers(data_dir)
    await servers.stop()
    assert not data_dir.exists()
    await servers.start()
    await servers.stop()
    await servers.stop()


async def test_a_server_that_does_not_end_is_killed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_nats, "_STOP_SIGNALS", ((Signals.SIGTERM, 0.2),))
    servers = EmbeddedServers(data_dir)
    await servers.start()
    os.kill(server_pid(data_dir, "nats-server"), Signals.SIGSTOP)
    async with asyncio.timeout(10):
        await servers.stop()
    assert server_processes(data_dir) == []


async def test_a_start_that_is_cancelled_leaves_nothing_running(data_dir: Path) -> None:
    for after_seconds in (0.05, 0.4, 0.8, 1.2):
        servers = EmbeddedServers(data_dir)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(servers.start(), after_seconds)
        await servers.stop()
        assert server_processes(data_dir) == []
    endpoints = await servers.start()
    assert await query(endpoints.database_url, "SELECT 1") == 1
    await servers.stop()


async def test_the_files_say_where_the_servers_are(running: tuple[Path, Endpoints]) -> None:
    path, endpoints = running
    assert (path / "database.url").read_text().strip() == endpoints.database_url
    assert (path / "database.owner.url").read_text().strip() == endpoints.migration_database_url
    assert (path / "nats.url").read_text().strip() == endpoints.nats_url
    assert (path / "nats.client.url").read_text().strip() == endpoints.nats_client_url
    assert (path / "hub.pid").read_text().strip() == str(os.getpid())


async def test_only_the_hub_and_its_servers_may_read_the_data_directory(running: tuple[Path, Endpoints]) -> None:
    path, _ = running
    as_root = os.geteuid() == 0
    assert stat.S_IMODE(path.stat().st_mode) == (0o711 if as_root else 0o700)
    modes = {entry.name: oct(stat.S_IMODE(entry.lstat().st_mode)) for entry in path.iterdir()}
    print(modes)
    assert {name: mode for name, mode in modes.items() if not name.startswith("bin-")} == {
        "hub.pid": "0o600",
        "database.url": "0o600",
        "database.owner.url": "0o600",
        "nats.url": "0o600",
        "nats.client.url": "0o600",
        "nats.conf": "0o600",
        "postgres.conf": "0o600",
        "postgres": "0o700",
        "nats": "0o700",
        "log": "0o700",
        "run": "0o700",
    }


async def test_no_password_is_on_a_command_line_or_in_a_log_or_in_a_repr(running: tuple[Path, Endpoints]) -> None:
    path, endpoints = running
    urls = (
        endpoints.database_url,
        endpoints.migration_database_url,
        endpoints.nats_url,
        endpoints.nats_client_url,
    )
    passwords = [url.split(":")[2].partition("@")[0] for url in urls]
    assert min(map(len, passwords)) >= 32
    assert len(set(passwords)) == 4
    command_lines = " ".join(" ".join(process.cmdline()) for process in server_processes(path))
    logs = "".join((path / "log" / name).read_text() for name in ("postgres.log", "nats.log"))
    assert str(path) in command_lines
    for password in passwords:
        assert password not in command_lines
        assert password not in logs
        assert password not in repr(endpoints)


async def test_what_is_being_stored_does_not_reach_the_log_of_postgresql(running: tuple[Path, Endpoints]) -> None:
    path, endpoints = running
    connection = await asyncpg.connect(endpoints.migration_database_url)
    await connection.execute("CREATE TABLE unique_note (text text UNIQUE)")
    await connection.execute("INSERT INTO unique_note VALUES ('confidential-4711')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO unique_note VALUES ('confidential-4711')")
    await connection.close()
    logged = (path / "log" / "postgres.log").read_text()
    assert "unique_note" in logged
    assert "confidential" not in logged


async def test_the_running_role_is_an_ordinary_one(running: tuple[Path, Endpoints]) -> None:
    _, endpoints = running
    connection = await asyncpg.connect(endpoints.database_url)
    row = await connection.fetchrow(
        "SELECT current_database(), rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,"
        " current_setting('data_checksums'), current_setting('server_encoding'), current_setting('listen_addresses'),"
        " current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')"
        " FROM pg_roles WHERE rolname = current_user"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE TABLE public.mine ()")
    await connection.close()
    assert row is not None
    assert tuple(row) == ("central_hub", *[False] * 5, "on", "UTF8", "", "on", "on", "on")


async def test_a_wrong_password_is_refused(running: tuple[Path, Endpoints]) -> None:
    _, endpoints = running
    for url in (endpoints.database_url, endpoints.migration_database_url):
        password = url.split(":")[2].partition("@")[0]
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url.replace(password, "wrong"))
    for url in (endpoints.nats_url, endpoints.nats_client_url):
        password = url.split(":")[2].partition("@")[0]
        nobody = url.replace(url.split("/")[2].partition("@")[0] + "@", "")
        for refused in (url.replace(password, "wrong"), nobody):
            with pytest.raises(NoServersError):
                await nats.connect(refused, max_reconnect_attempts=1, reconnect_time_wait=0.01)


async def test_a_killed_postgresql_comes_back_with_what_was_committed(running: tuple[Path, Endpoints]) -> None:
    path, endpoints = running
    connection = await asyncpg.connect(endpoints.migration_database_url)
    await connection.execute("CREATE TABLE survivor AS SELECT 42 AS number")
    for _ in range(2):
        killed = server_pid(path, "postgres")
        began = time.perf_counter()
        os.kill(killed, Signals.SIGKILL)
        assert await query_soon(endpoints.migration_database_url, "SELECT number FROM survivor") == 42
        print(f"PostgreSQL was back {time.perf_counter() - began:.2f} s after it was killed")
        assert server_pid(path, "postgres") != killed
    connection.terminate()


async def test_a_session_at_work_does_not_keep_a_killed_postgresql_from_coming_back(
    running: tuple[Path, Endpoints],
) -> None:
    path, endpoints = running
    connection = await asyncpg.connect(endpoints.database_url)
    session = await connection.fetchval("SELECT pg_backend_pid()")
    working = asyncio.create_task(connection.fetchval("SELECT count(*) FROM generate_series(1, 1e12)"))
    await asyncio.sleep(0.2)
    os.kill(server_pid(path, "postgres"), Signals.SIGKILL)
    with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.QueryCanceledError)):
        await working
    assert await query_soon(endpoints.database_url, "SELECT 1") == 1
    assert session not in {process.pid for process in server_processes(path)}


async def test_a_killed_nats_comes_back_with_its_stream(running: tuple[Path, Endpoints]) -> None:
    path, endpoints = running
    hub = await nats.connect(endpoints.nats_url, reconnect_time_wait=0.02, max_reconnect_attempts=-1)
    await hub.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await hub.jetstream().publish("kept", b"still here")
    killed = server_pid(path, "nats-server")
    began = time.perf_counter()
    os.kill(killed, Signals.SIGKILL)
    async with asyncio.timeout(30):
        while hub.is_connected:
            await asyncio.sleep(0.01)
        while not hub.is_connected:
            await asyncio.sleep(0.01)
    print(f"NATS was back {time.perf_counter() - began:.2f} s after it was killed")
    assert server_pid(path, "nats-server") != killed
    assert (await hub.jetstream().get_last_msg("KEPT", "kept")).data == b"still here"
    await hub.jetstream().delete_stream("KEPT")
    await hub.close()


@pytest.mark.parametrize("name", ["long-" + "x" * 120, "with a space, a comma 'and' \"quotes\" – \\ $HOME #{}"])
async def test_any_path_will_do_for_a_data_directory(data_dir: Path, name: str) -> None:
    path = data_dir.parent / name
    servers = EmbeddedServers(path)
    endpoints = await servers.start()
    assert await query(endpoints.database_url, "SELECT 1") == 1
    sockets = Path((path / "run.path").read_text().strip())
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    await servers.stop()

    # Cleaned away, as temporary directories are: made again. Taken by somebody: left alone.
    sockets.rmdir()
    assert await servers.start() == endpoints
    await servers.stop()
    sockets.rmdir()
    sockets.symlink_to(data_dir.parent)
    moved = await servers.start()
    assert await query(moved.database_url, "SELECT 1") == 1
    assert moved.database_url != endpoints.database_url
    assert sockets.is_symlink()
    await servers.stop()
    sockets.unlink()
    Path((path / "run.path").read_text().strip()).rmdir()


async def test_a_data_directory_can_be_moved(data_dir: Path) -> None:
    servers = EmbeddedServers(data_dir)
    before = await servers.start()
    await servers.stop()
    moved = data_dir.rename(data_dir.with_name("elsewhere"))
    servers = EmbeddedServers(moved)
    after = await servers.start()
    assert await query(after.database_url, "SELECT 1") == 1
    assert after.nats_url == before.nats_url
    await servers.stop()


async def test_a_set_up_that_was_not_finished_is_finished(data_dir: Path) -> None:
    servers = EmbeddedServers(data_dir)
    await servers.start()
    await servers.stop()
    (data_dir / "database.url").unlink()
    (data_dir / "nats.client.url").unlink()
    (data_dir / "postgres.new").mkdir()
    (data_dir / "postgres.new" / "half").touch()
    endpoints = await servers.start()
    assert await query(endpoints.database_url, "SELECT current_user") == "central_hub"
    maintenance_url = endpoints.migration_database_url.replace("/central_hub?", "/postgres?")
    await query(maintenance_url, "DROP DATABASE central_hub")
    await query(maintenance_url, "DROP ROLE central_hub")
    await servers.stop()
    assert await servers.start() == endpoints
    assert await query(endpoints.database_url, "SELECT current_user") == "central_hub"
    await servers.stop()


async def test_a_full_log_is_moved_aside(data_dir: Path) -> None:
    servers = EmbeddedServers(data_dir)
    await servers.start()
    await servers.stop()
    log = data_dir / "log" / "postgres.log"
    log.write_bytes(b"x" * (LOG_BYTES + 1))
    await servers.start()
    await servers.stop()
    assert 0 < log.stat().st_size < LOG_BYTES
    assert (data_dir / "log" / "postgres.log.1").stat().st_size == LOG_BYTES + 1
