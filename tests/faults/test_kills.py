"""G1, G2, G3: hubs, PostgreSQL and NATS are killed at any instant, in any combination, under sixteen writers."""

import asyncio
import random
import time
from typing import Protocol

import pytest

from tests.faults import audit_log, checks
from tests.faults.harness import Fleet
from tests.faults.reading import read_all
from tests.faults.report import report
from tests.faults.watchers import Watcher, following
from tests.faults.writers import Writers


class Victim(Protocol):
    name: str
    kills: int

    async def kill(self) -> None: ...

    async def start(self) -> None: ...


async def kill_at_random(victims: list[Victim], rng: random.Random, *, kills: int, within: float) -> int:
    """Kill one or several at a time, at once or in short succession, and start them again, until there were enough."""
    deadline = time.monotonic() + within
    done = 0
    while done < kills and time.monotonic() < deadline:
        chosen = rng.sample(victims, rng.choices([1, 2, 3, 4], weights=[6, 3, 2, 1])[0])
        for victim in chosen:
            await victim.kill()
            done += 1
            await asyncio.sleep(rng.choice([0, 0, 0.01, 0.1]))
        await asyncio.gather(*(victim.start() for victim in chosen))
        await asyncio.sleep(rng.uniform(0, 0.5))
    return done


async def survive_kills(fleet: Fleet, rng: random.Random, seed: int, *, kills: int, within: float) -> None:
    replicas = [hub.http for hub in fleet.hubs]
    writers = Writers(replicas, rng)
    watchers = [
        Watcher(replicas, rng, writers.services),
        Watcher(replicas, rng, writers.services[:2], environment="staging"),
    ]
    async with following(*watchers):
        async with writers.at_work():
            done = await kill_at_random([*fleet.hubs, fleet.postgres, fleet.nats], rng, kills=kills, within=within)
        log = await audit_log.fetch(replicas[0])
        for watcher in watchers:
            await watcher.reaches(log.head)
    configs = checks.History(log).services
    answers = {hub.name: await read_all(hub.http, configs, log.head) for hub in fleet.hubs}

    recorder = writers.recorder
    report(
        "random kills",
        kills=done,
        **{victim.name.replace("-", "_"): victim.kills for victim in [*fleet.hubs, fleet.postgres, fleet.nats]},
        acknowledged=len(recorder.acknowledged),
        unknown_outcomes=recorder.unknown,
        given_up=len(recorder.given_up),
        worst_lag=max(max(checks.lags(recorder.acknowledged, watcher.recording)) for watcher in watchers),
        seed=seed,
    )
    assert len(recorder.acknowledged) > 5 * done
    assert log.head.epoch == 1
    assert checks.log_violations(log) == []
    assert checks.write_violations(log, recorder) == []
    assert checks.agreement_violations(log, answers) == []
    for watcher in watchers:
        assert checks.watch_violations(log, watcher.recording) == []


@pytest.mark.timeout(180)
async def test_nothing_acknowledged_is_lost_and_nothing_is_half_done(
    fleet: Fleet, rng: random.Random, seed: int
) -> None:
    await survive_kills(fleet, rng, seed, kills=60, within=60)


@pytest.mark.soak
async def test_a_thousand_kills(fleet: Fleet, rng: random.Random, seed: int) -> None:
    await survive_kills(fleet, rng, seed, kills=1000, within=7200)
