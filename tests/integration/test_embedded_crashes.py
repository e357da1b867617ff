"""What a hub that ended in any way leaves behind, and what the next one makes of it."""

# ruff: noqa: ASYNC110, ASYNC220, ASYNC240 - a test has its event loop for itself

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import asyncpg
import pytest

from central_hub.embedded import EmbeddedServers
from tests.integration.embedded_hub import data_directory, hub_process, server_pid, server_processes


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with data_directory() as path:
        yield path


async def assert_it_works_and_ends(data_dir: Path) -> None:
    servers = EmbeddedServers(data_dir)
    endpoints = await servers.start()
    connection = await asyncpg.connect(endpoints.database_url)
    assert await connection.fetchval("SELECT current_user") == "central_hub"
    await connection.close()
    await servers.stop()
    assert server_processes(data_dir) == []


@pytest.mark.parametrize("signal_number", [Signals.SIGINT, Signals.SIGTERM])
def test_a_signal_to_the_whole_terminal_ends_nats_then_postgresql_then_the_hub(
    data_dir: Path, signal_number: Signals
) -> None:
    with hub_process(data_dir) as hub:
        hub.wait_until_ready()
        servers = [server_pid(data_dir, name) for name in ("postgres", "nats-server")]
        assert os.getsid(hub.process.pid) not in {os.getsid(pid) for pid in servers}
        assert hub.end(signal_number) == 0
        stopped = [line for line in hub.said.decode().splitlines() if "server_stopped" in line]
        assert ["NATS" in stopped[0], "PostgreSQL" in stopped[1], len(stopped)] == [True, True, 2]
    assert server_processes(data_dir) == []
    logged = (data_dir / "log" / "postgres.log").read_text()
    assert "received fast shutdown request" in logged
    assert logged.strip().endswith("database system is shut down")


async def test_the_next_hub_ends_what_a_killed_one_left(data_dir: Path) -> None:
    with hub_process(data_dir) as hub:
        hub.wait_until_ready()
        connection = await asyncpg.connect((data_dir / "database.owner.url").read_text().strip())
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        urls = {name: (data_dir / name).read_text() for name in ("database.url", "nats.url", "nats.client.url")}
        hub.kill()
        orphans = [server_pid(data_dir, name) for name in ("postgres", "nats-server")]
        assert await connection.fetchval("SELECT number FROM kept") == 1  # they do live on

    began = time.perf_counter()
    with hub_process(data_dir) as hub:
        hub.wait_until_ready()
        print(f"took over after {time.perf_counter() - began:.2f} s")
        assert {name: (data_dir / name).read_text() for name in urls} == urls
        assert not set(orphans) & {process.pid for process in server_processes(data_dir)}
        connection = await asyncpg.connect((data_dir / "database.owner.url").read_text().strip())
        assert await connection.fetchval("SELECT number FROM kept") == 1
        await connection.close()
        assert hub.end(Signals.SIGTERM) == 0
    assert server_processes(data_dir) == []


async def test_the_next_hub_ends_a_session_that_outlived_its_postgresql(data_dir: Path) -> None:
    with hub_process(data_dir) as hub:
        hub.wait_until_ready()
        connection = await asyncpg.connect((data_dir / "database.url").read_text().strip())
        session = await connection.fetchval("SELECT pg_backend_pid()")
        working = asyncio.create_task(connection.fetchval("SELECT count(*) FROM generate_series(1, 1e12)"))
        await asyncio.sleep(0.3)
        hub.kill()
        os.kill(server_pid(data_dir, "postgres"), Signals.SIGKILL)
        await asyncio.sleep(0.3)
        assert session in {process.pid for process in server_processes(data_dir)}
    await assert_it_works_and_ends(data_dir)
    with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.QueryCanceledError)):
        await working


@pytest.mark.parametrize(
    "moment",
    [
        "hub.pid",
        "postgres.new/PG_VERSION",
        "postgres.new/global/pg_control",
        "postgres",
        "postgres/postmaster.pid",
        "database.url",
        "nats.conf",
        "nats.url",
    ],
)
async def test_a_hub_killed_while_it_sets_up_is_repaired_by_the_next(data_dir: Path, moment: str) -> None:
    with hub_process(data_dir) as hub:
        async with asyncio.timeout(60):
            while not (data_dir / moment).exists():
                await asyncio.sleep(0.001)
        hub.kill()
        print(f"killed with {sorted(entry.name for entry in data_dir.iterdir())}")
    await assert_it_works_and_ends(data_dir)
    # Nothing half-written stays, which may hold a password.
    assert [entry.name for entry in data_dir.iterdir() if entry.name.startswith((".", "postgres.new"))] == []


async def test_lock_files_that_name_another_living_process_are_not_believed(data_dir: Path) -> None:
    servers = EmbeddedServers(data_dir)
    await servers.start()
    await servers.stop()
    status = (data_dir / "postgres").stat()
    account = {"user": status.st_uid, "group": status.st_gid} if os.geteuid() == 0 else {}
    bystander = subprocess.Popen(["sleep", "60"], cwd="/", **account)
    try:
        for lock_file in (data_dir / "postgres" / "postmaster.pid", data_dir / "run" / ".s.PGSQL.5432.lock"):
            lock_file.write_text(f"{bystander.pid}\n{data_dir}/postgres\n1\n5432\n{data_dir}/run\n\n0 0\nready   \n")
            os.chown(lock_file, status.st_uid, status.st_gid)
        await assert_it_works_and_ends(data_dir)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_program_of_somebody_who_looks_around_in_the_directory_is_left_alone(data_dir: Path) -> None:
    with hub_process(data_dir) as hub:
        hub.wait_until_ready()
        hub.kill()
    bystander = subprocess.Popen(["sleep", "60"], cwd=data_dir / "postgres")
    try:
        servers = EmbeddedServers(data_dir)
        await servers.start()
        await servers.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_second_hub_on_the_directory_is_refused_and_told_who_holds_it(data_dir: Path) -> None:
    with hub_process(data_dir) as first, hub_process(data_dir) as racing:
        deadline = time.monotonic() + 60
        while first.process.poll() is None and racing.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        winner, loser = (racing, first) if first.process.poll() is not None else (first, racing)
        assert loser.exit_status() == 1
        winner.wait_until_ready()
        with hub_process(data_dir) as late:
            assert late.exit_status() == 1
            said = late.said.decode()
        assert f"another hub (pid {winner.process.pid}) uses the data directory {data_dir}" in said
        assert server_pid(data_dir, "postgres")
        assert winner.end(Signals.SIGTERM) == 0
