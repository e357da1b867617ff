"""The whole service as a process, on its safe defaults: no hub was ever there."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.polygon_historical_downloader.environment import Connection, MissingEnvironment

from .conftest import KEY, REPOSITORY, StandIn, StartStandIn

SECONDS = 60


class Service:
    """`python -m examples.polygon_historical_downloader`, and its progress lines."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.polygon_historical_downloader"],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def until(self, event: str, count: int = 1) -> dict[str, Any]:
        """Read on until `count` more of these events have come; the last of them."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            values: dict[str, Any] = json.loads(line)
            count -= values["event"] == event
            if count == 0:
                return values
        raise AssertionError(f"it ended before {event}: {self.output}")

    def end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.output += self.process.communicate(timeout=SECONDS)[0]
        return self.process.returncode


def count_bars(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        count: int = connection.execute("SELECT count(*) FROM bars").fetchone()[0]
        return count


StartService = Callable[..., Service]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "bars.sqlite"


@pytest.fixture
def start_service(tmp_path: Path, database: Path, unused_port: int) -> Iterator[StartService]:
    services = []

    def start(stand_in: StandIn, **variables: str) -> Service:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CENTRAL_HUB_")}
        environment |= {
            "POLYGON_BASE_URL": stand_in.url,
            "POLYGON_API_KEY": KEY,
            "POLYGON_DATABASE": str(database),
            "CENTRAL_HUB_URL": f"http://127.0.0.1:{unused_port}",
            "CENTRAL_HUB_CACHE_DIR": str(tmp_path / "cache"),
            **variables,
        }
        services.append(service := Service(environment))
        return service

    yield start
    for service in services:
        service.end(signal.SIGKILL)


def test_it_does_its_work_without_a_hub_and_stops_when_asked(
    start_stand_in: StartStandIn, start_service: StartService, database: Path
) -> None:
    service = start_service(start_stand_in())
    started = service.until("started")
    assert (started["source"], started["revision"]) == ("defaults", None)
    assert service.until("page_stored")["batch_size"] == 50_000
    assert service.until("sweep_finished")["bars"] > 5000
    began = time.monotonic()
    assert service.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5
    assert json.loads(service.output.splitlines()[-1])["event"] == "stopped"
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(DISTINCT symbol || timeframe) FROM bars").fetchone() == (28,)


def test_its_status_page_tells_whether_it_is_ready_and_what_it_runs_on(
    start_stand_in: StartStandIn, start_service: StartService, unused_port: int
) -> None:
    port = unused_port
    service = start_service(start_stand_in(), POLYGON_STATUS_PORT=str(port), CENTRAL_HUB_URL="http://127.0.0.1:1")
    service.until("page_stored")
    ready = httpx2.get(f"http://127.0.0.1:{port}/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})
    told = httpx2.get(f"http://127.0.0.1:{port}/status").json()
    assert (told["process"], told["revision"], told["source"]) == (service.process.pid, None, "defaults")
    assert service.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("port", ["70000", "0", "http", "-1"])
def test_a_status_port_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("POLYGON_API_KEY", KEY)
    monkeypatch.setenv("POLYGON_STATUS_PORT", port)
    with pytest.raises(MissingEnvironment, match="POLYGON_STATUS_PORT"):
        Connection.from_environment()


def test_killed_in_the_middle_it_goes_on_where_it_was_and_doubles_nothing(
    start_stand_in: StartStandIn, start_service: StartService, database: Path
) -> None:
    stand_in = start_stand_in(latency_seconds=0.1)
    service = start_service(stand_in)
    service.until("page_stored", 10)
    service.end(signal.SIGKILL)
    time.sleep(0.5)  # the stand-in finishes what it was asked
    served_before, stored_before = stand_in.statistics()["bars"], count_bars(database)
    assert stored_before > 0
    service = start_service(stand_in)
    bars = service.until("sweep_finished")["bars"]
    assert service.end(signal.SIGINT) == 0
    assert count_bars(database) == bars
    assert stand_in.statistics()["bars"] == served_before + bars - stored_before, "a stored bar was asked for again"


def test_the_key_is_in_no_line_and_in_no_file(
    start_stand_in: StartStandIn, start_service: StartService, tmp_path: Path
) -> None:
    service = start_service(start_stand_in(error_percent=20))
    service.until("retry")
    service.end(signal.SIGTERM)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in files)
    written = service.output.encode() + b"".join(path.read_bytes() for path in files)
    assert KEY.encode() not in written


def test_without_a_key_it_says_what_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "POLYGON_API_KEY"}
    answer = subprocess.run(
        [sys.executable, "-m", "examples.polygon_historical_downloader"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr.strip().startswith("POLYGON_API_KEY is not set")
