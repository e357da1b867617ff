"""Five hundred clients of one hub that dies, refuses, flaps and comes back: how often they ask, on a made-up clock."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest

from central_hub_client.client_settings import resolve
from central_hub_client.errors import CentralHubError, HubUnreachable, error_from
from central_hub_client.held_config import HeldConfig
from central_hub_client.hub_api import SILENCE_SECONDS, Answer, HubApi
from central_hub_client.key_ring import KeyRing
from central_hub_client.last_known_good import LastKnownGood
from central_hub_client.refresh import Refresher
from central_hub_client.updates import follow_events
from central_hub_client.wire import BOOKMARK_INTERVAL_SECONDS, Bookmark, ConfigObject, Position
from tests.unit.client.objects import SERVICE, bookmark, config_object
from tests.unit.client.simulated_clock import run_simulated

CLIENTS = 500
LONGEST_WAIT_SECONDS = 30.0
# Waits are drawn evenly between nothing and thirty seconds: fifteen on average. Five hundred clients are then heard 33
# times in a second; twice that is six standard deviations away.
MOST_IN_A_SECOND = 2 * CLIENTS / (LONGEST_WAIT_SECONDS / 2)


class Hub:
    """What every client is answered, and when each has asked."""

    def __init__(self) -> None:
        self.current = config_object(1)
        self.error: CentralHubError | None = None
        self.streams_end_at_once = False
        self.asked: list[list[float]] = []
        self.opened: list[list[float]] = []
        self._went = asyncio.Event()

    def go(self, error: CentralHubError) -> None:
        """All streams break, and from now on everybody is answered so."""
        self.error = error
        self._went.set()

    def come_back(self, current: ConfigObject) -> None:
        self.error, self.current = None, current
        self._went.clear()

    async def wait(self, seconds: float) -> None:
        """Raises where the hub goes meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._went.wait()
        if self.error is not None:
            raise self.error

    def in_second(self, of: list[list[float]]) -> Counter[int]:
        return Counter(int(at) for times in of for at in times)


class Line(HubApi):
    """One client's way to the hub, without a network in between."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(SETTINGS)
        self._hub = hub
        self._asked: list[float] = []
        self._opened: list[float] = []
        hub.asked.append(self._asked)
        hub.opened.append(self._opened)

    async def fetch_config(
        self, service: str, environment: str, *, etag: str | None = None, minimum: Position | None = None
    ) -> Answer:
        self._asked.append(time.monotonic())
        await asyncio.sleep(0.001)
        if self._hub.error is not None:
            raise self._hub.error
        current = self._hub.current
        return Answer(None if etag == current.etag else current, current.position, False)

    async def watch(
        self, service: str, environment: str, *, after: Position | None
    ) -> AsyncGenerator[ConfigObject | Bookmark]:
        self._opened.append(time.monotonic())
        await asyncio.sleep(0.001)
        if self._hub.error is not None:
            raise self._hub.error
        while True:
            yield bookmark(self._hub.current.revision)
            if self._hub.streams_end_at_once:
                raise HubUnreachable("the hub ended the event stream")
            await self._hub.wait(BOOKMARK_INTERVAL_SECONDS)


SETTINGS = resolve(
    hub_url=None, token=None, environment=None, nats_url=None, enable_nats=False, cache_dir=None, instance_id=None,
    environ={},
)  # fmt: skip


@asynccontextmanager
async def fleet(hub: Hub) -> AsyncGenerator[list[HeldConfig]]:
    """Every client with its refresher and its event stream, as `ConfigClient` has them; all have settled."""
    clients, tasks = [], []
    for _ in range(CLIENTS):
        line = Line(hub)
        held = HeldConfig(SERVICE, "default", {}, fresh_seconds=300, on_change=lambda merged: None)
        keys = KeyRing(SETTINGS, line, LastKnownGood(None, SERVICE, "default", None))
        refresher = Refresher(held, line, keys, poll_seconds=300)
        clients.append(held)
        tasks += [asyncio.create_task(refresher.run()), asyncio.create_task(follow_events(held, line, refresher, None))]
    await asyncio.sleep(10)
    assert all(held.object == hub.current for held in clients)
    yield clients
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    random.seed(20261123)  # the same waits in every run
    return lambda work: run_simulated(work(), monkeypatch)


Simulate = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def test_a_dead_hub_is_asked_at_the_back_off_s_rate_and_all_are_back_within_its_longest_wait(
    simulate: Simulate,
) -> None:
    async def work() -> None:
        hub = Hub()
        async with fleet(hub) as clients:
            died = time.monotonic()
            hub.go(HubUnreachable("gone"))
            await asyncio.sleep(600)
            since = [[at - died for at in times if at > died] for times in hub.asked]
            # Doubling from 0.2 s, eight waits reach thirty seconds and last 25 s on average; then come fifteen each.
            first_minute = sum(at < 60 for times in since for at in times) / CLIENTS
            busiest = max(count for second, count in hub.in_second(since).items() if second >= 60)
            print(f"{CLIENTS} clients: {first_minute:.1f} questions each in a minute, then {busiest} in a second")
            assert 8 < first_minute < 13
            assert busiest < MOST_IN_A_SECOND
            back = time.monotonic()
            hub.come_back(config_object(2))
            await asyncio.sleep(LONGEST_WAIT_SECONDS + 1)
            assert all(held.object == hub.current and held.error is None for held in clients)
            for asked in (hub.asked, hub.opened):
                assert max(hub.in_second([[at - back for at in times if at > back] for times in asked]).values()) < (
                    MOST_IN_A_SECOND
                )

    simulate(work)


def test_a_hub_that_says_when_to_come_again_is_left_alone_until_then(simulate: Simulate) -> None:
    async def work() -> None:
        hub = Hub()
        async with fleet(hub):
            went = time.monotonic()
            hub.go(error_from(503, {"code": "store_unavailable"}, retry_after_seconds=60.0))
            await asyncio.sleep(600)
            for of in (hub.asked, hub.opened):
                for times in of:
                    after = [at for at in times if at > went]
                    assert len(after) >= 6
                    assert min(later - earlier for earlier, later in pairwise(after)) >= 60

    simulate(work)


def test_a_hub_that_answers_only_errors_is_asked_at_the_back_off_s_rate(simulate: Simulate) -> None:
    async def work() -> None:
        hub = Hub()
        async with fleet(hub):
            went = time.monotonic()
            hub.go(error_from(500, None))
            await asyncio.sleep(300)
            for of, times_the_rate in ((hub.asked, 2), (hub.opened, 1)):  # each stream that breaks makes a client ask
                since = [[at - went for at in times if at > went] for times in of]
                busiest = max(count for second, count in hub.in_second(since).items() if second >= 60)
                assert busiest < times_the_rate * MOST_IN_A_SECOND

    simulate(work)


def test_a_hub_that_ends_every_stream_is_not_rushed_at(simulate: Simulate) -> None:
    async def work() -> None:
        hub = Hub()
        async with fleet(hub) as clients:
            went = time.monotonic()
            hub.streams_end_at_once = True
            await asyncio.sleep(300)
            hub.current = config_object(2)
            for of in (hub.asked, hub.opened):
                since = [[at - went for at in times if at > went] for times in of]
                busiest = max(count for second, count in hub.in_second(since).items() if second >= 60)
                assert 0 < busiest < MOST_IN_A_SECOND
            await asyncio.sleep(LONGEST_WAIT_SECONDS + SILENCE_SECONDS)
            assert all(held.object == hub.current for held in clients)

    simulate(work)
