"""A revision that kills its instance: given up at the third start, told to the hub, and left behind by the next one."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import RunningHub
from tests.integration.test_config_manager_status import shows
from tests.wire.test_config_manager_forks import Program
from tests.wire.test_config_manager_of_a_hub import store
from tests.wire.waiting import until

SERVICE_PROGRAM = """
import asyncio, os, signal, sys, time
from pydantic import BaseModel
from central_hub_client import ConfigManager
from central_hub_client.base_service import BaseService

class Settings(BaseModel):
    n: int = 0
    is_deadly: bool = False

service, url, token, cache, ending = sys.argv[1:]
manager = ConfigManager(service, Settings, central_hub_url=url, token=token, cache_dir=cache, config_dir=None)

def work():
    seen = None
    while not (ending == "returns" and seen):
        current = manager.current
        if current.n != seen:
            seen = current.n
            print(seen, flush=True)
        if current.is_deadly:
            if ending == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if ending == "leaves by os._exit":
                os._exit(1)
            if "raises" in ending:
                raise OSError("no space for the cache")
        time.sleep(0.005)

if ending == "raises":
    with manager:
        work()
elif "in a base service" in ending:
    class Service(BaseService):
        async def work(self):
            await asyncio.to_thread(work)

    Service(manager, drain_seconds=600).main()
else:
    manager.start()
    work()
"""

Start = Callable[[str], AbstractAsyncContextManager[Program]]


@pytest.fixture
def start(hub: RunningHub, service_name: str, tmp_path: Path) -> Start:
    @asynccontextmanager
    async def started(ending: str) -> AsyncIterator[Program]:
        command = [sys.executable, "-c", SERVICE_PROGRAM, service_name, hub.url, hub.token, str(tmp_path), ending]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        program = Program(process)
        reading = asyncio.create_task(program.read())
        errors = asyncio.create_task(process.stderr.read())  # type: ignore[union-attr]
        try:
            yield program
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading
            print((await errors).decode())

    return started


async def ends(program: Program) -> int:
    async with asyncio.timeout(30):
        return await program.process.wait()


@pytest.mark.parametrize(
    "ending", ["is killed", "leaves by os._exit", "raises", "raises in its life", "raises in a base service"]
)
async def test_a_revision_that_crashes_an_instance_twice_is_given_up(
    hub: RunningHub, service_name: str, start: Start, ending: str
) -> None:
    first = await store(hub, service_name, {"n": 1})
    async with start(ending) as program:
        await program.says("1")
        deadly = await store(hub, service_name, {"n": 2, "is_deadly": True})
        assert await ends(program) != 0
    async with start(ending) as program:
        assert await ends(program) != 0
        assert "2" in program.lines
    async with start(ending) as program:
        await program.says("1")
        instance = await shows(hub, service_name, state="rejected")
        assert (instance["applied_revision"], instance["rejected_revision"]) == (first, deadly)
        assert "it crashed this instance 2 times within 60 seconds" in instance["error"]
        await store(hub, service_name, {"n": 3, "is_deadly": False})
        await program.says("3")
        assert program.lines == ["1", "3"]


async def test_a_service_that_is_told_to_end_and_killed_while_it_drains_has_not_crashed(
    hub: RunningHub, service_name: str, start: Start, tmp_path: Path
) -> None:
    await store(hub, service_name, {"n": 1})
    async with start("returns") as program:
        assert await ends(program) == 0
    await store(hub, service_name, {"n": 2})
    for _ in range(2):
        async with start("never drains in a base service") as program:
            await program.says("2")
            program.process.send_signal(signal.SIGTERM)
            await until(lambda: '"running": null' in next(tmp_path.rglob("run.json")).read_text())
            program.process.kill()
            assert await ends(program) == -signal.SIGKILL
    async with start("returns") as program:
        await ends(program)
        assert program.lines == ["2"]


@pytest.mark.parametrize("ending", ["returns", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_an_end_in_good_order_is_held_against_nothing(
    hub: RunningHub, service_name: str, start: Start, ending: str | signal.Signals
) -> None:
    await store(hub, service_name, {"n": 1})
    async with start("returns") as program:
        assert await ends(program) == 0
    await store(hub, service_name, {"n": 2})
    for _ in range(4):
        async with start(str(ending)) as program:
            await program.says("2")
            if isinstance(ending, signal.Signals):
                program.process.send_signal(ending)
                assert await ends(program) == -ending
            else:
                assert await ends(program) == 0
