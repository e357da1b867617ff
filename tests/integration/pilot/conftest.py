"""The pilot's downloader against its stand-in: a real process, real HTTP, a real file."""

import asyncio
import logging
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from central_hub_client import ConfigManager, layers
from central_hub_client.testing import FakeHub
from examples.polygon_historical_downloader import health
from examples.polygon_historical_downloader.bars import BarStore
from examples.polygon_historical_downloader.downloader import Downloader
from examples.polygon_historical_downloader.live_settings import LiveSettings
from examples.polygon_historical_downloader.polygon_api import PolygonApi
from examples.polygon_historical_downloader.settings import Settings
from examples.polygon_historical_downloader.traffic import Traffic

REPOSITORY = Path(__file__).parents[3]
SERVICE = "polygon-historical-downloader"
KEY = "a-key-for-the-stand-in"

# Two series, small and quick, over days that are past: the same bars whenever the test runs.
SMALL = {
    "operational": {"symbols": ["EURUSD"], "timeframes": ["1h", "1d"], "retry_delay_seconds": 0.05},
    "download": {
        "start_date": "2026-11-02",
        "end_date": "2026-11-13",
        "rate_limit_per_sec": 200,
        "granularity": {"trading_pairs": {"timeframe": "hour", "multiplier": 1}},
    },
}
# Hours from Monday 00:00 to Friday 21:00 and from Sunday 22:00 to Friday 21:00, five days and six.
SMALL_BARS = 117 + 119 + 5 + 6


@dataclass(frozen=True)
class StandIn:
    url: str

    def statistics(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx2.get(f"{self.url}/stand-in/statistics").json()
        return answer


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something that only looking tells."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process, or the log, sets no event
            await asyncio.sleep(0.01)


class Events:
    """The progress lines so far."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        self._records = records

    def named(self, event: str) -> list[dict[str, Any]]:
        return [record.values for record in self._records if record.getMessage() == event]  # type: ignore[attr-defined]

    async def seen(self, event: str, count: int = 1, seconds: float = 20) -> list[dict[str, Any]]:
        """Wait until there are `count` of them."""
        await until(lambda: len(self.named(event)) >= count, seconds)
        return self.named(event)


@dataclass
class Pilot:
    """A downloader at work, and what it writes."""

    hub: FakeHub
    downloader: Downloader
    events: Events
    database: Path
    config: dict[str, Any]

    def change(self, patch: Mapping[str, Any]) -> None:
        """Store the configuration with `patch` merged in; the pilot hears of it soon."""
        self.config = layers.merge([self.config, patch])
        self.hub.set(SERVICE, self.config)

    async def finish_sweep(self) -> None:
        await self.events.seen("sweep_finished", len(self.events.named("sweep_finished")) + 1)

    def query(self, sql: str, *parameters: object) -> list[Any]:
        with closing(sqlite3.connect(self.database, timeout=10)) as database, database:
            return database.execute(sql, parameters).fetchall()


StartStandIn = Callable[..., StandIn]
RunPilot = Callable[..., AbstractAsyncContextManager[Pilot]]


@pytest.fixture
def start_stand_in() -> Iterator[StartStandIn]:
    """Start a stand-in with the command line options given as keyword arguments."""
    processes = []

    def start(**options: float) -> StandIn:
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in ({"port": 0} | options).items()]
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.polygon_historical_downloader.stand_in", *arguments],
            cwd=REPOSITORY,
            env=os.environ | {"POLYGON_API_KEY": KEY},
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        url = process.stdout.readline().strip().removeprefix("listening on ")
        return StandIn(url)

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        process.communicate(timeout=20)


@pytest.fixture
def run_pilot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> RunPilot:
    """Run a downloader on a configuration laid over SMALL, until the block ends."""
    caplog.set_level(logging.INFO)

    @asynccontextmanager
    async def run(
        url: str,
        patch: Mapping[str, Any] | None = None,
        *,
        key: str = KEY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> AsyncIterator[Pilot]:
        config = layers.merge([SMALL, patch or {}])
        hub = FakeHub()
        hub.set(SERVICE, config)
        hub.start()
        manager = ConfigManager(
            SERVICE, Settings, central_hub_url=hub.url, token="t", cache_dir=tmp_path / "cache", config_dir=None
        )
        api, bars = PolygonApi(url, key), BarStore(tmp_path / "bars.sqlite")
        caplog.clear()
        try:
            await manager.start_async(20)
            await bars.start()
            api.start()
            live = LiveSettings(manager)
            traffic = Traffic(live)
            downloader = Downloader(live, traffic, api, bars, now)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(downloader.run())
                tasks.create_task(health.watch(live, traffic, api, bars))
                yield Pilot(hub, downloader, Events(caplog.records), tmp_path / "bars.sqlite", config)
                downloader.stop()
        finally:
            await manager.stop_async()
            await api.stop()
            await bars.stop()
            hub.stop()

    return run


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
