"""Several processes of one service share a cache directory, and are killed at any moment."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from central_hub_client import ConfigClient, Source
from tests.unit.client.objects import SERVICE, config_object
from tests.wire.one_config import OneConfig
from tests.wire.scripted_server import scripted_server
from tests.wire.waiting import until

PROCESSES = 5

PROGRAM = """
import asyncio, sys
from central_hub_client import ConfigClient

async def main():
    client = ConfigClient("pilot", sys.argv[1], cache_dir=sys.argv[2], token="x")
    await client.init_async(60)
    print(client.instance_id, client.get_value("n"), flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@asynccontextmanager
async def workers(url: str, cache: Path, count: int) -> AsyncIterator[list[str]]:
    """What each of so many processes says at its start, which is at the same moment; they are killed at the end."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, url, str(cache), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(count)
    ]
    try:
        yield [(await process.stdout.readline()).decode().strip() for process in processes if process.stdout]
    finally:
        for process in processes:
            process.kill()
        await asyncio.gather(*(process.wait() for process in processes))


def kept(cache: Path, revision: int) -> set[Path]:
    """The directories in which a file speaks of that revision."""
    return {path.parent for path in cache.rglob("generation-*.json") if f'"revision":{revision},' in path.read_text()}


async def test_processes_on_one_directory_keep_files_of_their_own_and_whoever_comes_next_has_the_newest(
    client_of: Callable[..., ConfigClient], tmp_path: Path
) -> None:
    hub = OneConfig(config_object(1, {"n": 1}))
    async with scripted_server(hub) as server:
        async with workers(server.url, tmp_path, PROCESSES) as said:
            assert len({line.split()[0] for line in said}) == PROCESSES
            assert {line.split()[1] for line in said} == {"1"}
            hub.current = config_object(2, {"n": 2})
            await until(lambda: len(kept(tmp_path, 2)) == PROCESSES, within=30)
        # Killed: their directories are free again, so the next generation of processes needs no more of them.
        hub.current = config_object(3, {"n": 3})
        async with workers(server.url, tmp_path, PROCESSES) as said:
            assert {line.split()[1] for line in said} == {"3"}
            await until(lambda: len(kept(tmp_path, 3)) == PROCESSES, within=30)
    assert kept(tmp_path, 2) == kept(tmp_path, 3)
    async with client_of("http://127.0.0.1:1", SERVICE) as client:
        assert (client.get_value("n"), client.status.source) == (3, Source.LAST_KNOWN_GOOD)
