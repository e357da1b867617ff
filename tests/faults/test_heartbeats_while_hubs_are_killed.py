"""A thousand instances go on sending heartbeats while one hub after the other, and both, are killed: nobody is ever
reported gone."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx2

from tests.faults.harness import Fleet, Hub
from tests.faults.report import report
from tests.integration.instances import Incarnation, beat, eventually, register

INSTANCES = 1_000
LEASE_SECONDS = 15
BEAT_SECONDS = LEASE_SECONDS / 3
HEALTHY = {"healthy": INSTANCES}


async def test_no_healthy_instance_is_ever_reported_gone_because_of_a_hub(
    fleet: Fleet, service_name: str, seed: int, rng: random.Random
) -> None:
    limit = asyncio.Semaphore(20)

    async def appear(number: int) -> Incarnation:
        async with limit:
            return await register(
                fleet.hubs[number % 2].http, service_name, f"i{number:04}", lease_seconds=LEASE_SECONDS
            )

    made = await asyncio.gather(*map(appear, range(INSTANCES)))
    beating = [asyncio.create_task(_go_on(fleet.hubs, incarnation, rng)) for incarnation in made]
    try:
        await eventually(_all_are_healthy(fleet.hubs, service_name), within=60)
        looking = asyncio.create_task(_look(fleet.hubs, service_name))
        await _kill_hubs(fleet.hubs, rng)
        looking.cancel()
        looks = await looking
    finally:
        for task in beating:
            task.cancel()
        ends = await asyncio.gather(*beating, return_exceptions=True)
    assert {type(end) for end in ends} == {asyncio.CancelledError}
    assert looks > 10
    kills = sum(hub.kills for hub in fleet.hubs)
    report("heartbeats while hubs are killed", seed=seed, instances=INSTANCES, kills=kills, looks=looks)


async def _kill_hubs(hubs: list[Hub], rng: random.Random) -> None:
    """One after the other, and at last both; those are away for longer than a lease."""
    for killed in ([hubs[0]], [hubs[1]], hubs):
        await asyncio.gather(*(hub.kill() for hub in killed))
        await asyncio.sleep(rng.uniform(0, 1) + (LEASE_SECONDS if killed is hubs else 0))
        await asyncio.gather(*(hub.start() for hub in killed))
        await asyncio.sleep(rng.uniform(1, BEAT_SECONDS))


async def _go_on(hubs: list[Hub], incarnation: Incarnation, rng: random.Random) -> None:
    await asyncio.sleep(rng.uniform(0, BEAT_SECONDS))
    turn = rng.randrange(2)
    while True:
        try:
            answer = await beat(hubs[turn % 2].http, incarnation, state="healthy")
            if answer.status_code == 200:
                await asyncio.sleep(BEAT_SECONDS * rng.uniform(0.8, 1.0))
                continue
            assert answer.status_code == 503, answer.text  # it is starting
        except httpx2.TransportError:
            pass
        turn += 1
        await asyncio.sleep(rng.uniform(0.3, 1.0))


def _all_are_healthy(hubs: list[Hub], service: str) -> Callable[[], Awaitable[bool]]:
    async def are() -> bool:
        return all([await _states(hub, service) == HEALTHY for hub in hubs])

    return are


async def _look(hubs: list[Hub], service: str) -> int:
    """Look at the fleet through every hub that answers, until cancelled; how often one did."""
    looks = 0
    try:
        while True:
            for hub in hubs:
                try:
                    states = await _states(hub, service)
                except httpx2.TransportError:
                    continue
                if states is not None:
                    looks += 1
                    assert states == HEALTHY, hub.name
            await asyncio.sleep(0.25)
    except asyncio.CancelledError:
        return looks


async def _states(hub: Hub, service: str) -> Counter[str] | None:
    answer = await hub.http.get(f"/api/v1/discovery/{service}")
    if answer.status_code == 503:
        return None  # it is starting
    return Counter(instance["state"] for instance in answer.json()["instances"])
