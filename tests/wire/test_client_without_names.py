"""Names cease to be resolved while a client runs, or never were: the resolver says no, or says nothing at all."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not sys.platform.startswith("linux"), reason="namespaces of its own need root on Linux"
)

PROGRAM = '''
import asyncio, socket, subprocess, sys, time
from pathlib import Path
from central_hub_client import ConfigClient, ConfigManager, Source
from tests.unit.client.objects import SERVICE, config_object
from tests.wire.one_config import OneConfig
from tests.wire.scripted_server import scripted_server
from tests.wire.waiting import until

directory = Path(sys.argv[1])
names, resolver = directory / "hosts", directory / "resolv.conf"
names.write_text("127.0.0.1 hub.internal bus.internal\\n")
resolver.write_text("nameserver 127.0.0.1\\noptions timeout:4 attempts:1\\n")
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", names, "/etc/hosts"], check=True)
subprocess.run(["mount", "--bind", resolver, "/etc/resolv.conf"], check=True)

def names_die(how):
    names.write_text("127.0.0.1 localhost\\n")
    if how == "hang":  # somebody listens, and never answers: every look-up lasts for as long as the resolver waits
        nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        nobody.bind(("127.0.0.1", 53))
        return nobody

class Hub(OneConfig):
    """With polls alone. Once it hangs up, the next question needs a new connection, and that the name."""

    has_hung_up = False

    def __init__(self):
        super().__init__(config_object(1, {"n": 1}))
        self.has_events = False

    async def __call__(self, exchange):
        if self.has_hung_up:
            exchange.writer.close()
        else:
            await super().__call__(exchange)

async def measure(pauses):
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        pauses.append(time.monotonic() - before)
'''


def run_without_a_network(script: str, directory: Path, *arguments: str) -> None:
    """Run the program where there is no network but loopback, and files of its own name hosts and resolvers."""
    program = PROGRAM + textwrap.dedent(script)
    command = ["unshare", "--net", "--mount", sys.executable, "-c", program, str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if done.stderr.startswith("unshare:"):
        pytest.skip("namespaces are not allowed here")
    print(done.stdout)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_names_that_die_while_a_client_runs_take_nothing_away_and_when_they_are_back_it_is_current(
    tmp_path: Path, how: str
) -> None:
    script = """
    async def main():
        hub = Hub()
        async with scripted_server(hub) as server:
            client = ConfigClient(SERVICE, server.url.replace("127.0.0.1", "hub.internal"), token="x",
                                  nats_url="nats://bus.internal:1", cache_dir=directory, cache_ttl_seconds=1)
            await client.init_async()
            assert client.status.error is None, client.status
            pauses = []
            measuring = asyncio.create_task(measure(pauses))
            nobody, hub.has_hung_up = names_die(sys.argv[2]), True
            await until(lambda: client.status.error_code == "unreachable", within=30)
            started = time.monotonic()
            assert (await client.get_config(force_refresh=True))["n"] == 1
            assert time.monotonic() - started < 15
            await until(lambda: client.status.stale, within=30)
            hub.has_hung_up, hub.current = False, config_object(2, {"n": 2})
            names.write_text("127.0.0.1 hub.internal")
            await until(lambda: client.get_value("n") == 2, within=60)
            await until(lambda: client.status.error is None and not client.status.stale, within=60)
            assert max(pauses) < 1, max(pauses)
            measuring.cancel()
            await client.shutdown()

    asyncio.run(main())
    """
    run_without_a_network(script, tmp_path, how)


@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_names_that_are_dead_at_the_start_cost_the_deadline_at_most_and_the_disk_counts(
    tmp_path: Path, how: str
) -> None:
    script = """
    async def main():
        hub = Hub()
        async with scripted_server(hub) as server:
            url = server.url.replace("127.0.0.1", "hub.internal")
            async with ConfigClient(SERVICE, url, token="x", cache_dir=directory):
                pass
            nobody = names_die(sys.argv[2])
            manager = ConfigManager(SERVICE, central_hub_url=url, cache_dir=directory, config_dir=None)
            started = time.monotonic()
            await manager.start_async()
            assert time.monotonic() - started < 10
            assert (manager.get("n"), manager.status.source) == (1, Source.LAST_KNOWN_GOOD)
            assert manager.status.stale
            hub.current = config_object(2, {"n": 2})
            names.write_text("127.0.0.1 hub.internal")
            await until(lambda: manager.get("n") == 2, within=60)
            started = time.monotonic()
            await manager.stop_async()
            assert time.monotonic() - started < 10

    asyncio.run(main())
    """
    run_without_a_network(script, tmp_path, how)
