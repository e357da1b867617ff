"""A disk that fills up under a client: its configuration goes on, and is kept again as soon as there is room."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not sys.platform.startswith("linux"), reason="mounting a small disk needs root on Linux"
)

PROGRAM = """
import asyncio, subprocess, sys
from pathlib import Path
from central_hub_client import ConfigClient, ConfigManager, Source
from tests.unit.client.objects import SERVICE, config_object
from tests.wire.one_config import OneConfig
from tests.wire.scripted_server import scripted_server
from tests.wire.waiting import until

cache = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", cache], check=True)
filler = cache / "filler"

def fill():
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 512):
                pass
    except OSError as error:
        print("full:", error.strerror)

def kept():
    newest = max(cache.rglob("generation-*.json"), default=None)
    return None if newest is None else int(newest.name[-9:-5])

def config(n):
    return config_object(n, {"n": n, "fill": "x" * 20_000})
"""


def run_on_a_small_disk(script: str, directory: Path) -> str:
    """Run the program where the directory is a disk of 256 KB; returns what it logged."""
    command = ["unshare", "--mount", sys.executable, "-c", PROGRAM + textwrap.dedent(script), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if done.stderr.startswith("unshare:"):
        pytest.skip("unsharing the mount namespace is not allowed here")
    assert done.returncode == 0, done.stderr
    assert "full: No space left on device" in done.stdout
    return done.stderr


def test_a_disk_that_is_full_costs_a_client_nothing_but_its_memory(tmp_path: Path) -> None:
    script = """
    async def main():
        hub = OneConfig(config(1))
        async with scripted_server(hub) as server:
            async with ConfigClient(SERVICE, server.url, token="x", cache_dir=cache, cache_ttl_seconds=1) as client:
                await until(lambda: kept() == 1)
                fill()
                for n in (2, 3):
                    hub.current = config(n)
                    await until(lambda: client.get_value("n") == n)
                    assert not client.status.stale
            assert kept() == 1
            async with ConfigClient(SERVICE, "http://127.0.0.1:1", token="x", cache_dir=cache) as client:
                assert (client.get_value("n"), client.status.source) == (1, Source.LAST_KNOWN_GOOD)
            async with ConfigClient(SERVICE, server.url, token="x", cache_dir=cache, cache_ttl_seconds=1) as client:
                assert client.get_value("n") == 3
                filler.unlink()
                await until(lambda: kept() == 2, within=30)  # the second file: nothing but room was needed
        async with ConfigClient(SERVICE, "http://127.0.0.1:1", token="x", cache_dir=cache) as client:
            assert (client.get_value("n"), client.status.source) == (3, Source.LAST_KNOWN_GOOD)

    asyncio.run(main())
    """
    assert "last-known-good not written, the older stay" in run_on_a_small_disk(script, tmp_path)


def test_a_disk_that_is_full_from_the_start_keeps_no_manager_from_following(tmp_path: Path) -> None:
    script = """
    fill()

    async def main():
        hub = OneConfig(config(1))
        async with scripted_server(hub) as server:
            manager = ConfigManager(SERVICE, central_hub_url=server.url, cache_dir=cache, config_dir=None)
            async with manager:
                for n in (2, 3):
                    hub.current = config(n)
                    await until(lambda: manager.get("n") == n)
                assert (manager.status.source, manager.status.stale) == (Source.HUB, False)

    asyncio.run(main())
    """
    assert "last-known-good not" in run_on_a_small_disk(script, tmp_path)
