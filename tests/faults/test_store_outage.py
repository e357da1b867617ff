"""G1, G15: PostgreSQL is killed, or stands still. Reads and watches go on and say so, writes are refused in time."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import httpx2
import pytest

from central_hub_client.wire import HUB_MIN_REVISION, HUB_REVISION, HUB_STALE
from tests.faults import audit_log, checks
from tests.faults.harness import Fleet, Hub
from tests.faults.report import report
from tests.faults.watchers import Watcher, following
from tests.faults.writers import Writers
from tests.wire.waiting import until

NOTICED_WITHIN_SECONDS = 30.0
"""For a server that stands still: the look at the log, its rollback and its farewell time out in turn."""
REFUSED_WITHIN_SECONDS = 40.0
"""For a write that meets the fault before the hub knows of it: pool, statement and farewell time out in turn."""
REFUSED_AT_ONCE_SECONDS = 2.0
"""For a write that comes once the hub knows: nothing is waited for, but the machine may be busy."""
READ_WITHIN_SECONDS = 0.5
"""For most reads meanwhile: far less than any time-out, so they wait for nothing of the store."""
RECOVERED_WITHIN_SECONDS = 10.0


class Fault(StrEnum):
    """What befalls PostgreSQL."""

    KILLED = "killed"
    FROZEN = "frozen"


@asynccontextmanager
async def befallen(fleet: Fleet, fault: Fault) -> AsyncIterator[None]:
    """PostgreSQL is out of order during the block."""
    if fault is Fault.KILLED:
        await fleet.postgres.kill()
    else:
        fleet.postgres.freeze()
    try:
        yield
    finally:
        if fault is Fault.KILLED:
            await fleet.postgres.start()
        else:
            fleet.postgres.thaw()


@dataclass
class Readings:
    """How long reads took, in seconds."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Reader:
    """Reads one config on one replica, again and again; every read must be answered, and with the config."""

    def __init__(self, hub: Hub, service: str) -> None:
        self._hub = hub
        self._service = service
        self.readings = Readings()
        self.is_stale = False

    async def read(self) -> None:
        while True:
            began = time.monotonic()
            answer = await self._hub.http.get(f"/api/v1/config/{self._service}")
            self.readings.seconds.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
            assert answer.json()["config"]["kept"] is True
            self.is_stale = answer.headers.get(HUB_STALE) == "true"
            await asyncio.sleep(0.01)

    def begin_anew(self) -> Readings:
        """What was read so far; what follows is counted by itself."""
        before, self.readings = self.readings, Readings()
        return before


@dataclass(frozen=True)
class Write:
    """One write, which may be asked for again."""

    hub: Hub
    service: str
    key: str

    async def ask(self) -> httpx2.Response:
        return await self.hub.http.post(
            f"/api/v1/config/{self.service}",
            json={"config": {"key": self.key}, "mode": "merge", "reason": self.key},
            headers={"Idempotency-Key": self.key},
            timeout=60,
        )

    async def is_refused(self) -> float:
        """How long the refusal took."""
        began = time.monotonic()
        answer = await self.ask()
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), answer.text
        assert answer.headers["retry-after"] == "1"
        return time.monotonic() - began

    async def until_accepted(self) -> None:
        async with asyncio.timeout(30):
            while (answer := await self.ask()).status_code != 200:
                assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), answer.text
                await asyncio.sleep(0.05)


async def create(hub: Hub, service: str) -> httpx2.Response:
    """A document to read. The hub may not yet have noticed the end of an earlier fault."""
    async with asyncio.timeout(RECOVERED_WITHIN_SECONDS):
        while True:
            answer = await hub.http.put(f"/api/v1/config/{service}", json={"kept": True})
            if answer.status_code == 200:
                return answer
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), answer.text
            await asyncio.sleep(0.05)


async def worst_refusal(writes: Iterable[Write]) -> float:
    return max(await asyncio.gather(*(write.is_refused() for write in writes)))


async def long_poll(hub: Hub, service: str) -> httpx2.Response:
    """Wait for what is newer than what there is now."""
    path = f"/api/v1/config/{service}"
    after = (await hub.http.get(path)).headers[HUB_REVISION]
    return await hub.http.get(path, params={"after": after, "wait": 60}, timeout=70)


async def assert_health_tells_the_truth(hub: Hub, *, store_is_well: bool) -> None:
    assert (await hub.http.get("/health/ready")).json() == {"state": "ready"}
    health = (await hub.http.get("/health")).json()
    assert health["components"]["postgres"]["ok"] is store_is_well
    assert health["state"] == ("healthy" if store_is_well else "degraded")
    assert [reason.startswith("postgres: not reached") for reason in health["reasons"]] == [True] * (not store_is_well)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("fault", Fault)
async def test_reads_and_watches_outlive_the_store_and_writes_are_refused_in_time(
    fleet: Fleet, fault: Fault, service_name: str, rng: random.Random, seed: int
) -> None:
    hubs = fleet.hubs
    created = await create(hubs[0], service_name)
    for hub in hubs:
        there = await hub.http.get(
            f"/api/v1/config/{service_name}", headers={HUB_MIN_REVISION: created.headers[HUB_REVISION]}
        )
        assert there.status_code == 200, there.text
    writers = Writers([hub.http for hub in hubs], rng, name=f"outage-{fault}", count=8)
    watchers = [Watcher([hub.http], rng, [service_name, *writers.services]) for hub in hubs]
    readers = [Reader(hub, service_name) for hub in hubs]
    early, late = (
        [Write(hub, service_name, f"{fault}-{when}-{hub.name}-{number}") for hub in hubs for number in range(3)]
        for when in ("early", "late")
    )

    async with following(*watchers), asyncio.TaskGroup() as group:
        reading = [group.create_task(reader.read()) for reader in readers]
        async with writers.at_work():
            await until(lambda: len(writers.recorder.acknowledged) >= 30, within=30)
            healthy = [reader.begin_anew() for reader in readers]
            async with befallen(fleet, fault):
                first_refusals = group.create_task(worst_refusal(early))
                noticed = await until(lambda: all(reader.is_stale for reader in readers), within=NOTICED_WITHIN_SECONDS)
                polls = [group.create_task(long_poll(hub, service_name)) for hub in hubs]
                at_once = await worst_refusal(late)
                in_time = await first_refusals
                for hub in hubs:
                    await assert_health_tells_the_truth(hub, store_is_well=False)
                assert not any(poll.done() for poll in polls)
                meanwhile = [reader.begin_anew() for reader in readers]
            began = time.monotonic()
            await asyncio.gather(*(write.until_accepted() for write in early + late))
            accepted = time.monotonic() - began
            await until(lambda: not any(reader.is_stale for reader in readers), within=RECOVERED_WITHIN_SECONDS)
            recovered = time.monotonic() - began
            for poll in polls:
                assert (await poll).status_code == 200
        log = await audit_log.fetch(hubs[0].http)
        for watcher in watchers:
            await watcher.reaches(log.head)
        for hub in hubs:
            await assert_health_tells_the_truth(hub, store_is_well=True)
        for task in reading:
            task.cancel()

    before_ms = 1000 * max(readings.median for readings in healthy)
    meanwhile_ms = 1000 * max(readings.median for readings in meanwhile)
    report(
        f"PostgreSQL {fault}",
        noticed_after=noticed,
        refused_within=in_time,
        refused_once_noticed_within=at_once,
        reads_meanwhile=sum(len(readings.seconds) for readings in meanwhile),
        median_read_ms=f"{before_ms:.1f} before, {meanwhile_ms:.1f} meanwhile",
        accepted_after=accepted,
        not_stale_after=recovered,
        acknowledged=len(writers.recorder.acknowledged),
        unknown_outcomes=writers.recorder.unknown,
        seed=seed,
    )
    assert in_time < REFUSED_WITHIN_SECONDS
    assert at_once < REFUSED_AT_ONCE_SECONDS
    assert meanwhile_ms < 1000 * READ_WITHIN_SECONDS
    assert checks.log_violations(log) == []
    assert checks.write_violations(log, writers.recorder) == []
    for watcher in watchers:
        assert watcher.recording.connections == 1
        assert checks.watch_violations(log, watcher.recording) == []
    events = [record.entry.reason for record in log.records]
    assert [write.key for write in early + late if events.count(write.key) != 1] == []


@pytest.mark.timeout(90)
@pytest.mark.parametrize("fault", Fault)
async def test_a_hub_that_starts_without_its_store_says_so_and_comes_up_with_it(
    fleet: Fleet, fault: Fault, service_name: str, seed: int
) -> None:
    other, hub = fleet.hubs
    created = await create(other, service_name)
    await hub.kill()
    waited_before = hub.log().count("waiting_for_store")
    async with befallen(fleet, fault):
        hub.launch()
        await until(lambda: hub.log().count("waiting_for_store") > waited_before, within=30)
        answer = await hub.http.get("/health/ready")
        assert (answer.status_code, answer.json()["state"]) == (503, "starting")
        [reason] = answer.json()["reasons"]
        assert reason.startswith("postgres: not reached (")
        assert (await hub.http.get("/health/live")).status_code == 200
        for path in (f"/api/v1/config/{service_name}", "/health"):
            answer = await hub.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert "starting" in answer.json()["detail"]
    began = time.monotonic()
    await hub.ready()
    report(f"started while PostgreSQL was {fault}", faults=1, ready_after=time.monotonic() - began, seed=seed)
    answer = await hub.http.get(f"/api/v1/config/{service_name}", params={"own": "true"})
    assert (answer.status_code, answer.json().get("config")) == (200, {"kept": True}), answer.text
    assert answer.headers["etag"] == created.headers["etag"]
    assert HUB_STALE not in answer.headers
