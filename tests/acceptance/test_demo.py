"""What `make demo` runs: it ends by itself, tells what it measured, and leaves nothing behind, however it ends."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
MARK = "DEMO_TEST_RUN"
SECONDS = 150


class Demo:
    """`python -m examples.demonstration`, and what belongs to it."""

    def __init__(self) -> None:
        self._run = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.demonstration"],
            cwd=REPOSITORY,
            env=os.environ | {MARK: self._run},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    @property
    def directory(self) -> Path:
        found = re.search(r"is started in (\S+):$", self.output, re.MULTILINE)
        assert found, self.output
        return Path(found[1])

    def read_until(self, words: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if words in line:
                return
        pytest.fail(f"it ended before it said {words!r}:\n{self.output}")

    def finish(self) -> int:
        self.output += self.process.communicate(timeout=SECONDS)[0]
        return self.process.returncode

    def processes(self) -> list[psutil.Process]:
        """Those that still run: by the mark that they inherited, or by the directory they work in."""

        def is_ours(process: psutil.Process) -> bool:
            try:
                words = " ".join(process.cmdline())
                return process.environ().get(MARK) == self._run or str(self.directory) in words
            except psutil.Error:
                return False

        return [process for process in psutil.process_iter() if is_ours(process)]


@pytest.fixture
def demo() -> Iterator[Demo]:
    demo = Demo()
    yield demo
    if demo.process.poll() is None:
        demo.process.terminate()
        demo.process.communicate(timeout=SECONDS)


def test_it_shows_what_it_promises_and_leaves_nothing_behind(demo: Demo) -> None:
    assert demo.finish() == 0, demo.output
    _, _, summary = demo.output.partition("\nSummary\n")
    measured = dict(re.split(r"\s{2,}", line.strip()) for line in summary.splitlines())
    for change in ("batch size", "symbols", "batch size after the restart"):
        for moment in ("the running service", "the first page that shows it"):
            assert re.fullmatch(r"\d+ ms", measured[f"{change}: from commit to {moment}"])
    assert float(measured["drained: from the command to the last call"].removesuffix(" s")) < 15
    assert float(measured["killed: until nobody tries it any more"].removesuffix(" s")) < 60
    assert measured["calls that were lost, and tries in vain"].startswith("0 and ")
    assert float(measured["stopped: until the alert"].removesuffix(" s")) < 20
    assert measured["services that the one alert names"] == "5"
    assert measured["told of it, and of its end"] == "1 and 1 time"
    assert "The dashboard: unhealthy, platform-db is unhealthy and services require it" in demo.output
    under, *shown = demo.output.split("$ central-hub top --once")[1:]
    assert re.search(r"platform-db is down since .* \(5 affected\), acknowledged", under)
    assert re.search(r"platform-db +unhealthy ", under)
    assert [len(re.findall(r" healthy +2 of 2 ", text)) for text in shown] == [1, 0, 0]
    assert re.search(r"-2 +draining ", shown[1])
    assert re.search(r"-2 +expired ", shown[2]) or re.search(r"-2 +unhealthy ", shown[2])
    assert measured["pages stored without a hub"].startswith("15 in ")
    assert "converged: 1 applied" in demo.output
    assert measured["processes left running"] == "0"
    assert float(measured["the whole demonstration"].removesuffix(" s")) < 120
    assert demo.processes() == []
    assert not demo.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_stopped_while_the_hub_is_dead_it_leaves_nothing_behind(demo: Demo, number: signal.Signals) -> None:
    demo.read_until("The pilot goes on")
    assert len(demo.processes()) > 3  # itself, the pilot, the stand-in, and the servers of the hub that was killed
    demo.process.send_signal(number)
    assert demo.finish() == 128 + number
    assert demo.processes() == []
    assert not demo.directory.exists()


def test_a_step_that_fails_fails_the_demonstration(demo: Demo) -> None:
    demo.read_until("Smaller pages")
    for process in demo.processes():
        if process.cmdline()[-1] == "examples.polygon_historical_downloader":
            process.kill()
    assert demo.finish() == 1
    assert "FAILED: the pilot ended before" in demo.output
    assert demo.processes() == []
    assert not demo.directory.exists()
