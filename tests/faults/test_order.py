"""G3: revisions are one gap-free order, equal to the order of commits, on every replica."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx2
import orjson
import pytest

from tests.conftest import DatabaseUrls, RunningHub
from tests.faults import audit_log, checks
from tests.faults.reading import Answers, read_all
from tests.faults.report import report
from tests.faults.watchers import Recording, Watcher, following
from tests.faults.writers import Recorder, Writers

START = Callable[..., Awaitable[RunningHub]]


@dataclass(frozen=True)
class Observed:
    """What sixteen writers, and readers that follow the log, saw on some replicas; and the log in the end."""

    log: audit_log.AuditLog
    recorder: Recorder
    readers: list[list[tuple[int, int]]]
    watchers: list[Recording]
    answers: dict[str, Answers]

    def violations(self) -> list[str]:
        found = checks.log_violations(self.log) + checks.write_violations(self.log, self.recorder)
        for reader in self.readers:
            found += checks.reader_violations(self.log, reader)
        for watcher in self.watchers:
            found += checks.watch_violations(self.log, watcher)
        return found + checks.agreement_violations(self.log, self.answers)


async def read_along(http: httpx2.AsyncClient, seen: list[tuple[int, int]]) -> None:
    """Ask again and again for what is newer than what was seen, until cancelled."""
    after = "0"
    while True:
        answer = await http.get("/api/v1/audit", params={"after": after, "limit": 1000})
        entries = orjson.loads(answer.content)["entries"]
        seen += [(entry["revision"], entry["ordinal"]) for entry in entries]
        if entries:
            after = f"{seen[-1][0]}.{seen[-1][1]}"


async def observe(replicas: Sequence[RunningHub], rng: random.Random, *, writes: int, name: str) -> Observed:
    clients = [replica.http for replica in replicas]
    writers = Writers(clients, rng, name=name, pause_seconds=0)
    watchers = [Watcher([client], rng, writers.services) for client in clients]
    seen: list[list[tuple[int, int]]] = [[] for _ in clients]
    async with following(*watchers), asyncio.TaskGroup() as group:
        readers = [group.create_task(read_along(*pair)) for pair in zip(clients, seen, strict=True)]
        await writers.write(writes)
        log = await audit_log.fetch(clients[0])
        answers = {
            replica.url: await read_all(replica.http, checks.History(log).services, log.head) for replica in replicas
        }
        for watcher in watchers:
            await watcher.reaches(log.head)
        await asyncio.sleep(0.2)
        for reader in readers:
            reader.cancel()
    return Observed(log, writers.recorder, seen, [watcher.recording for watcher in watchers], answers)


async def keep_order(start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int, *, writes: int) -> None:
    replicas = [await start_hub(on=database) for _ in range(2)]
    observed = await observe(replicas, rng, writes=writes, name="order")
    lags = [lag for watcher in observed.watchers for lag in checks.lags(observed.recorder.acknowledged, watcher)]
    report(
        "sixteen writers, two replicas",
        faults=0,
        acknowledged=len(observed.recorder.acknowledged),
        unknown_outcomes=observed.recorder.unknown,
        read_along=min(len(reader) for reader in observed.readers),
        worst_lag=max(lags),
        seed=seed,
    )
    assert observed.violations() == []


@pytest.mark.timeout(90)
async def test_readers_that_follow_the_log_miss_nothing(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int
) -> None:
    await keep_order(start_hub, database, rng, seed, writes=500)


@pytest.mark.soak
async def test_readers_that_follow_a_long_log_miss_nothing(
    start_hub: START, database: DatabaseUrls, rng: random.Random, seed: int
) -> None:
    await keep_order(start_hub, database, rng, seed, writes=50_000)
