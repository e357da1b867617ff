"""Forked workers: each goes on receiving updates by a thread and a connection of its own, and the parent too."""

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.unit.client.objects import config_object
from tests.wire.one_config import OneConfig
from tests.wire.scripted_server import Exchange, scripted_server
from tests.wire.waiting import until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

SERVICE_PROGRAM = """
import os, sys, threading, time
from central_hub_client import ConfigManager
from central_hub_client import keeper
keeper.CHECK_SECONDS = 0.1

url, cache = sys.argv[1:3]
manager = ConfigManager("pilot", central_hub_url=url, cache_dir=cache, config_dir=None)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def work(name):
    seen = ...
    while True:
        value = manager.get("n")
        if value != seen:
            seen = value
            say(name, value)
        time.sleep(0.005)

def fork(name):
    pid = os.fork()
    if pid == 0:
        try:
            work(name)
        finally:
            os._exit(1)
    say("pid", name, pid)
"""


class Program:
    """The lines that a running program has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().strip())

    async def says(self, *lines: str) -> None:
        await until(lambda: set(lines) <= set(self.lines), within=30)

    def pid(self, name: str) -> int:
        return int(next(line.split()[2] for line in self.lines if line.startswith(f"pid {name} ")))


@asynccontextmanager
async def running(script: str, url: str, cache: Path) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVICE_PROGRAM + textwrap.dedent(script),
        url,
        str(cache),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    program = Program(process)
    reading = asyncio.create_task(program.read())
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: the workers are its children, not ours
        await process.wait()
        await reading


def generations(cache: Path) -> list[Path]:
    """What was kept on disk."""
    return list(cache.rglob("generation-*"))


class Watched(OneConfig):
    """Counts its open event streams."""

    streams = 0

    async def _stream(self, exchange: Exchange) -> None:
        self.streams += 1
        try:
            await super()._stream(exchange)
        finally:
            self.streams -= 1


async def test_workers_forked_after_the_start_follow_by_themselves(tmp_path: Path) -> None:
    hub = Watched(config_object(1, {"n": 1}))
    script = """
    manager.start(10)
    for name in ("one", "two", "three"):
        fork(name)
    work("parent")
    """
    async with scripted_server(hub) as server, running(script, server.url, tmp_path) as program:
        everybody = ("parent", "one", "two", "three")
        await program.says(*(f"{name} 1" for name in everybody))
        await until(lambda: hub.streams == 4, within=30)
        for n in (2, 3):
            hub.current = config_object(n, {"n": n})
            await program.says(*(f"{name} {n}" for name in everybody))
        for name in everybody:  # nobody went back
            values = [line for line in program.lines if line.startswith(f"{name} ")]
            assert values == [f"{name} {n}" for n in (1, 2, 3)]
        await until(
            lambda: len({path.parent for path in generations(tmp_path)}) == 4
        )  # each has a directory of its own


async def test_a_worker_that_ends_takes_no_connection_of_the_others_with_it(tmp_path: Path) -> None:
    hub = Watched(config_object(1, {"n": 1}))
    script = """
    manager.start(10)
    fork("one")
    fork("two")
    work("parent")
    """
    async with scripted_server(hub) as server, running(script, server.url, tmp_path) as program:
        await program.says("parent 1", "one 1", "two 1")
        await until(lambda: hub.streams == 3, within=30)
        asked = len(server.asked("config/watch"))
        os.kill(program.pid("one"), signal.SIGKILL)
        await until(lambda: hub.streams == 2, within=30)
        hub.current = config_object(2, {"n": 2})
        await program.says("parent 2", "two 2")
        assert len(server.asked("config/watch")) == asked


async def test_a_parent_that_ends_its_connection_is_gone_though_its_workers_live(tmp_path: Path) -> None:
    hub = Watched(config_object(1, {"n": 1}))
    script = """
    manager.start(10)
    fork("one")
    while "stop" not in sys.stdin.readline() + manager.get("word", ""):
        time.sleep(0.01)
    manager.stop()
    say("stopped")
    time.sleep(3600)
    """
    async with scripted_server(hub) as server, running(script, server.url, tmp_path) as program:
        await program.says("one 1")
        await until(lambda: hub.streams == 2, within=30)
        hub.current = config_object(2, {"n": 2, "word": "stop"})
        await program.says("stopped", "one 2")
        await until(lambda: hub.streams == 1, within=30)
        hub.current = config_object(3, {"n": 3})
        await program.says("one 3")


async def test_workers_forked_before_the_start_start_by_themselves(tmp_path: Path) -> None:
    hub = Watched(config_object(1, {"n": 1}))
    script = """
    for name in ("one", "two"):
        if os.fork() == 0:
            manager.start(10)
            work(name)
    work("parent")
    """
    async with scripted_server(hub) as server, running(script, server.url, tmp_path) as program:
        await program.says("one 1", "two 1", "parent None")
        hub.current = config_object(2, {"n": 2})
        await program.says("one 2", "two 2")


async def test_a_master_that_replaces_its_workers_hands_on_what_is_current(tmp_path: Path) -> None:
    hub = Watched(config_object(1, {"n": 1}))
    script = """
    manager.start(10)
    generation = 0
    while True:
        generation += 1
        pid = os.fork()
        if pid == 0:
            work(f"worker{generation}")
        say("pid", f"worker{generation}", pid)
        os.waitpid(pid, 0)
    """
    async with scripted_server(hub) as server, running(script, server.url, tmp_path) as program:
        for generation in (1, 2, 3, 4):
            await program.says(f"worker{generation} {generation}")
            hub.current = config_object(generation + 1, {"n": generation + 1})
            await program.says(f"worker{generation} {generation + 1}")
            os.kill(program.pid(f"worker{generation}"), signal.SIGKILL)
        for generation in (1, 2, 3, 4):  # nobody went back
            prefix = f"worker{generation} "
            values = [int(line.removeprefix(prefix)) for line in program.lines if line.startswith(prefix)]
            assert values == sorted(values)


async def test_a_fork_while_locks_are_held_leaves_no_deadlock(tmp_path: Path) -> None:
    hub = Watched(config_object(1, {"n": 1}))
    script = """
    manager.start(10)
    held = threading.Event()
    def hold():
        with manager._keeper._lock, manager._keeper._starting:
            held.set()
            time.sleep(3600)
    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    if os.fork() == 0:
        with manager.override({"m": 1}):
            say("overridden", manager.get("m"))
        manager.stop()
        manager.start(10)
        if os.fork() == 0:
            work("grandchild")
        work("child")
    time.sleep(3600)
    """
    async with scripted_server(hub) as server, running(script, server.url, tmp_path) as program:
        await program.says("overridden 1", "child 1", "grandchild 1")
        hub.current = config_object(2, {"n": 2})
        await program.says("child 2", "grandchild 2")


async def test_forks_during_a_storm_of_updates_and_reads_leave_every_worker_alive(tmp_path: Path) -> None:
    hub = Watched(config_object(1, {"n": 1}))
    script = """
    manager.start(10)
    manager.on_config_update(lambda change: None)
    for number in range(12):
        fork(f"w{number}")
        time.sleep(0.01)
    work("parent")
    """
    async with scripted_server(hub) as server, running(script, server.url, tmp_path) as program:

        async def storm() -> None:
            for n in range(2, 200):
                hub.current = config_object(n, {"n": n})
                await asyncio.sleep(0.01)

        await asyncio.gather(storm(), program.says("parent 199", *(f"w{number} 199" for number in range(12))))


async def test_a_manager_that_was_stopped_may_be_started_in_a_forked_worker(tmp_path: Path) -> None:
    async with scripted_server(OneConfig(config_object(1, config={"n": 1}))) as hub:
        script = """
            import logging
            logging.basicConfig(format="logged %(levelname)s %(message)s", stream=sys.stdout)
            manager.start()
            manager.stop()
            if os.fork() == 0:
                manager.start()
                say("child", manager.status.source, manager.get("n"))
                sys.stdout.flush()
                os._exit(0)
            os.wait()
            say("over")
        """
        async with running(script, hub.url, tmp_path) as program:
            await program.says("over")
            assert program.lines == ["child hub 1", "over"]


async def test_callbacks_go_on_in_a_forked_worker(tmp_path: Path) -> None:
    hub = Watched(config_object(1, {"n": 1}))
    script = """
    manager.start(10)
    manager.on_config_update(lambda change: say(os.getpid() == parent and "parent" or "child", "told", change.new["n"]))
    parent = os.getpid()
    os.fork()
    time.sleep(3600)
    """
    async with scripted_server(hub) as server, running(script, server.url, tmp_path) as program:
        await until(lambda: hub.streams == 2, within=30)
        hub.current = config_object(2, {"n": 2})
        await program.says("parent told 2", "child told 2")


@pytest.mark.parametrize("end", ["sys.exit(0)", "manager.stop(); sys.exit(0)", "os.fork() or sys.exit(0); os.wait()"])
async def test_a_service_ends_at_once_and_without_noise(tmp_path: Path, end: str) -> None:
    async with scripted_server(Watched(config_object(1, {"n": 1}))) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SERVICE_PROGRAM + f"manager.start(10)\nassert manager.get('n') == 1\n{end}\n",
            server.url,
            str(tmp_path),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0
        assert errors == b""
        assert generations(tmp_path)  # though it was over in an instant
