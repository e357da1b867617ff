"""G5, G15: NATS frozen or dead, hubs killed before they could announce: nothing stays unsaid, and nobody waits."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import orjson
import pytest

from central_hub_client import ConfigClient
from central_hub_client.wire import HUB_MIN_REVISION
from tests.faults.harness import Fleet, Hub, Server
from tests.faults.report import report
from tests.faults.stream import until_true
from tests.wire.waiting import until


@dataclass(frozen=True)
class Written:
    """What came of a write, and how long it took."""

    announced: bool
    revision: int
    seconds: float


async def write(hub: Hub, service: str, number: int) -> Written:
    began = time.monotonic()
    answer = await hub.http.post(f"/api/v1/config/{service}", json={"config": {"n": number}})
    assert answer.status_code == 200, answer.text
    told = orjson.loads(answer.content)
    return Written(told["announced"], told["revision"], time.monotonic() - began)


async def number_at(hub: Hub, service: str, written: Written) -> int:
    """What a replica answers that has heard of this write."""
    answer = await hub.http.get(f"/api/v1/config/{service}", headers={HUB_MIN_REVISION: str(written.revision)})
    assert answer.status_code == 200, answer.text
    return int(orjson.loads(answer.content)["config"]["n"])


@asynccontextmanager
async def without(nats: Server, fault: str) -> AsyncIterator[None]:
    if fault == "frozen":
        nats.freeze()
    else:
        await nats.kill()
    try:
        yield
    finally:
        if fault == "frozen":
            nats.thaw()
        else:
            await nats.start()


async def until_the_bus_is_there(hub: Hub) -> None:
    deadline = time.monotonic() + 40
    while not (await hub.http.get("/health")).json()["components"]["nats"]["ok"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@asynccontextmanager
async def follower(hub: Hub, service: str, nats_url: str, directory: Path) -> AsyncIterator[ConfigClient]:
    token = hub.http.headers["authorization"].removeprefix("Bearer ")
    async with ConfigClient(service, hub.url, token=token, nats_url=nats_url, cache_dir=directory) as client:
        yield client


@pytest.mark.parametrize("fault", ["frozen", "dead"])
async def test_without_nats_writes_are_taken_and_told_when_it_is_back(
    fleet: Fleet, fault: str, rng: random.Random, seed: int, service_name: str, tmp_path: Path
) -> None:
    near, far = fleet.hubs
    services = [f"{service_name}-{number}" for number in range(8)]
    configs = [(service, "default") for service in services]
    for service in services:
        await write(near, service, 0)
    for hub in fleet.hubs:
        await until_the_bus_is_there(hub)
    async with follower(far, services[0], fleet.endpoints.nats_client_url, tmp_path) as client:
        await until(lambda: client.get_value("n") == 0)
        last: dict[str, int] = {}
        outcomes, lags = [], []
        async with without(fleet.nats, fault):
            for burst in range(1, 6):
                # Several at once: one that waits for the bus must not make the others wait one after another.
                chosen = [services[0], *rng.sample(services[1:], 5)]
                last |= dict.fromkeys(chosen, burst)
                written = await asyncio.gather(*(write(rng.choice(fleet.hubs), name, burst) for name in chosen))
                lags.append(await until(lambda burst=burst: client.get_value("n") == burst, within=30))  # type: ignore[misc]
                newest = max(written, key=lambda each: each.revision)
                for name, number in last.items():
                    assert await number_at(rng.choice(fleet.hubs), name, newest) == number
                outcomes += written
        healed = await until_true(fleet.endpoints.nats_url, near.http, configs, within=40)
    for hub in fleet.hubs:
        await until_the_bus_is_there(hub)
    slowest = max(written.seconds for written in outcomes)
    report(
        f"NATS {fault}",
        acknowledged=len(outcomes),
        slowest_write=slowest,
        lag_of_the_first=lags[0],
        worst_lag_after=max(lags[1:]),
        told_after=healed,
        seed=seed,
    )
    assert not any(written.announced for written in outcomes)
    assert slowest < 3
    assert max(lags[1:]) < 5


async def test_what_a_killed_hub_has_committed_and_not_announced_another_one_announces(
    fleet: Fleet, seed: int, service_name: str, tmp_path: Path
) -> None:
    near, far = fleet.hubs
    await write(near, service_name, 0)
    await near.kill()
    await near.start("die_before_announcing")
    async with follower(far, service_name, fleet.endpoints.nats_client_url, tmp_path) as client:
        await until(lambda: client.get_value("n") == 0)
        with pytest.raises(httpx2.HTTPError):
            await write(near, service_name, 1)
        took = await until(lambda: client.get_value("n") == 1, within=20)
        assert await near.ended() == 9
        healed = await until_true(fleet.endpoints.nats_url, far.http, [(service_name, "default")])
    await near.start()
    report("a hub killed before it announced", lag=took, announced_after=took + healed, seed=seed)
    assert took < 5
