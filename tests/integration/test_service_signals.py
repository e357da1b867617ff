"""A BaseService as a process of its own, ended by real signals."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SERVICE = """
import asyncio, signal, sys, time
from central_hub_client import ConfigManager
from central_hub_client.base_service import BaseService

def say(*words):
    print(*words, flush=True)

class Part:
    async def start(self):
        say("part started")
    async def stop(self):
        say("part stopping")
        if STOP_HANGS:
            await asyncio.Event().wait()
        say("part stopped")

class Service(BaseService):
    async def work(self):
        say("working", self.readiness.ok)
        if LOOP_IS_HELD_UP:
            time.sleep(60)
        await self.draining.wait()
        say("draining", *self.readiness.reasons)
        await asyncio.sleep(0.05)
        say("drained")

service = Service(ConfigManager("orders", config_dir=None))
service.add(Part(), stop_seconds=60)
if ON_UVLOOP:
    import uvloop
    uvloop.run(service.run())
else:
    service.main()
say("left", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""


class Service:
    def __init__(self, directory: Path, **switches: bool) -> None:
        names = {"STOP_HANGS": False, "LOOP_IS_HELD_UP": False, "ON_UVLOOP": False} | switches
        script = directory / "service.py"
        script.write_text("".join(f"{name} = {value}\n" for name, value in names.items()) + SERVICE)
        self.process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=directory)
        self.said: list[str] = []

    def read_until(self, words: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
            if line.startswith(words):
                return
        pytest.fail(f"it ended before it said {words!r}: {self.said}")

    def finish(self) -> int:
        assert self.process.stdout is not None
        self.said += [line.strip() for line in self.process.stdout]
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    monkeypatch.delenv("CENTRAL_HUB_URL", raising=False)
    started: list[Service] = []

    def start(**switches: bool) -> Service:
        started.append(Service(tmp_path, **switches))
        return started[-1]

    yield start
    for service in started:
        service.process.kill()
        service.process.communicate()


@pytest.mark.parametrize("on_uvloop", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_stops_in_order(
    start: Callable[..., Service], number: signal.Signals, on_uvloop: bool
) -> None:
    service = start(ON_UVLOOP=on_uvloop)
    service.read_until("working True")
    service.process.send_signal(number)
    assert service.finish() == 0
    assert service.said == [
        "part started",
        "working True",
        "draining the service is draining",
        "drained",
        "part stopping",
        "part stopped",
        "left True",
    ]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_a_stop_that_hangs(start: Callable[..., Service], second: signal.Signals) -> None:
    service = start(STOP_HANGS=True)
    service.read_until("working")
    service.process.send_signal(signal.SIGTERM)
    service.read_until("part stopping")
    service.process.send_signal(second)
    assert service.finish() == -second
    assert "part stopped" not in service.said


def test_the_second_signal_ends_a_process_whose_event_loop_is_held_up(start: Callable[..., Service]) -> None:
    service = start(LOOP_IS_HELD_UP=True)
    service.read_until("working")
    service.process.send_signal(signal.SIGTERM)
    # The two could be merged into one while the first is pending: repeat until it was the second.
    while service.process.poll() is None:
        service.process.send_signal(signal.SIGTERM)
        try:
            service.process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    assert service.finish() == -signal.SIGTERM
    assert "drained" not in service.said
