"""G5: what comes over the bus may be lost, doubled, late, out of order or a lie; everybody has the truth anyway."""

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from central_hub.embedded import Endpoints
from central_hub_client import ConfigClient
from central_hub_client.wire import HUB_KEY_ID, HUB_SIGNATURE
from tests.conftest import DatabaseUrls, RunningHub
from tests.faults.filtering_wire import proxy_to
from tests.faults.liar import Liar, a_liar
from tests.faults.mangler import Mangler
from tests.faults.report import report
from tests.faults.stream import Config, until_true
from tests.wire.waiting import until

START = Callable[..., Awaitable[RunningHub]]


@dataclass
class Follower:
    """A service that follows its configuration over the bus, and everything that it ever believed."""

    client: ConfigClient
    seen: list[dict[str, Any]] = field(default_factory=list)

    @property
    def number(self) -> int:
        return int(self.client.get_value("n", -1))


@asynccontextmanager
async def follower(hub: RunningHub, service: str, nats_url: str, directory: Path) -> AsyncIterator[Follower]:
    client = ConfigClient(service, hub.url, token=hub.token, nats_url=nats_url, cache_dir=directory)
    following = Follower(client)
    client.on_config_update(lambda change: following.seen.append(change.new))
    async with client:
        yield following


@dataclass
class Scene:
    """Two replicas with a follower each: one pair straight on the bus, the other perhaps through a bad wire."""

    hubs: list[RunningHub]
    followers: list[Follower]
    configs: list[Config]
    liar: Liar
    numbers: Counter[str] = field(default_factory=Counter)
    reads: int = 0

    async def write(self, service: str, hub: RunningHub) -> None:
        self.numbers[service] += 1
        answer = await hub.http.post(f"/api/v1/config/{service}", json={"config": {"n": self.numbers[service]}})
        assert answer.status_code == 200, answer.text

    async def settled(self) -> float:
        """Wait until every replica and every follower has what was written last; returns how many seconds that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        followed = self.configs[0][0]
        for hub in self.hubs:
            for service, _ in self.configs:
                while await self.read(hub, service) != {"n": self.numbers[service]}:
                    assert loop.time() - began < 20
                    await asyncio.sleep(0.01)
        for each in self.followers:
            await until(lambda each=each: each.number == self.numbers[followed], within=20)  # type: ignore[misc]
        return loop.time() - began

    async def read(self, hub: RunningHub, service: str) -> Any:
        self.reads += 1
        answer = await hub.http.get(f"/api/v1/config/{service}")
        if answer.status_code == 404:  # a replica may be asked before it has heard of the service
            return None
        assert answer.status_code == 200
        return answer.json()["config"]

    async def fetches(self) -> float:
        """How often others than this test have asked the replicas for a configuration."""
        asked = 0.0
        for hub in self.hubs:
            for line in (await hub.http.get("/metrics")).text.splitlines():
                if line.startswith("central_hub_requests_total{") and 'route="/config/{service}"' in line:
                    asked += float(line.rpartition(" ")[2]) * ('method="GET"' in line)
        return asked - self.reads

    def assert_that_nobody_believed_a_lie(self) -> None:
        for each in self.followers:
            numbers = [config["n"] for config in each.seen if config]
            assert numbers == sorted(numbers)
            assert not any("lie" in config for config in each.seen)


@pytest.fixture
def counts() -> Counter[str]:
    """What the bad wire has done."""
    return Counter()


@pytest.fixture
async def bad_wire(servers: Endpoints, rng: random.Random, counts: Counter[str]) -> AsyncIterator[int]:
    """The port of NATS as seen through a bad wire."""
    url = urlsplit(servers.nats_url)
    async with proxy_to(url.hostname or "", url.port or 0, lambda: Mangler(rng, counts)) as port:
        yield port


@asynccontextmanager
async def scene(
    servers: Endpoints,
    hubs: list[RunningHub],
    rng: random.Random,
    name: str,
    client_urls: list[str],
    directory: Path,
) -> AsyncIterator[Scene]:
    configs = [(f"{name}-{number}", "default") for number in range(3)]
    near, far = hubs
    followed = configs[0][0]
    async with (
        a_liar(servers.nats_url, rng) as liar,
        follower(near, followed, client_urls[0], directory / "near") as first,
        follower(far, followed, client_urls[1], directory / "far") as second,
    ):
        scene = Scene(hubs, [first, second], configs, liar)
        for service, _ in configs:
            await scene.write(service, near)
        await scene.settled()
        await until_true(servers.nats_url, near.http, configs)
        yield scene
        scene.assert_that_nobody_believed_a_lie()


def through(url: str, port: int) -> str:
    """The same NATS, through a port."""
    return f"nats://{urlsplit(url).netloc.rpartition('@')[0]}@127.0.0.1:{port}"


@pytest.mark.timeout(120)
async def test_losses_and_lies_cost_latency_and_nothing_else(
    servers: Endpoints,
    database: DatabaseUrls,
    start_hub: START,
    bad_wire: int,
    counts: Counter[str],
    rng: random.Random,
    seed: int,
    service_name: str,
    tmp_path: Path,
) -> None:
    near = await start_hub(on=database)
    far = await start_hub(on=database, nats_url=SecretStr(through(servers.nats_url, bad_wire)))
    client_urls = [servers.nats_client_url, through(servers.nats_client_url, bad_wire)]
    async with scene(servers, [near, far], rng, service_name, client_urls, tmp_path) as it:

        async def lie() -> None:
            while True:
                await it.liar.lie_about(rng.choice(it.configs))
                await asyncio.sleep(0.02)

        lying = asyncio.create_task(lie())
        took = []
        for _ in range(8):
            for _ in range(rng.randrange(1, 12)):
                await it.write(rng.choice(it.configs)[0], rng.choice(it.hubs))
            await it.write(it.configs[0][0], near)
            took.append(await it.settled())
        lying.cancel()
        await asyncio.gather(lying, return_exceptions=True)
        healed = await until_true(servers.nats_url, near.http, it.configs)
    report(
        "a lossy and lying bus",
        **counts,
        lies=it.liar.told,
        acknowledged=sum(it.numbers.values()),
        worst_lag=max(took),
        stream_healed_after=healed,
        seed=seed,
    )
    assert max(took) < 10  # seconds: a few questions of who has doubts, on a machine that has other work


FORGERIES: dict[str, dict[str, Any]] = {
    "the same revision": {},
    "a higher revision": {"revision": 10**9},
    "a lower revision": {"revision": 0},
    "another epoch": {"epoch": 9},
    "a wrong hash": {"hash": "sha256:" + "0" * 64},
    "another hub": {"hub_id": "hub-two"},
    "a hint": {"is_hint": True, "revision": 10**9},
}


async def test_forgeries_garbage_and_a_flood_change_nothing_and_are_undone(
    servers: Endpoints,
    database: DatabaseUrls,
    start_hub: START,
    rng: random.Random,
    seed: int,
    service_name: str,
    tmp_path: Path,
) -> None:
    hubs = [await start_hub(on=database) for _ in range(2)]
    async with scene(servers, hubs, rng, service_name, [servers.nats_client_url] * 2, tmp_path) as it:
        config = it.configs[0]
        before, loop = await it.fetches(), asyncio.get_running_loop()
        began = loop.time()
        signatures = [
            {},
            {HUB_SIGNATURE: "AAAA"},
            {HUB_KEY_ID: "0" * 16},
            {HUB_SIGNATURE: "", HUB_KEY_ID: ""},
            {HUB_SIGNATURE: "no base64"},
        ]
        for changes in FORGERIES.values():
            for headers in signatures:
                await it.liar.forge(config, changes, headers)
        for garbage in (b"", b"{", b"null", b"[" * 10_000, b"\xff\xfe", rng.randbytes(1_000_000)):
            await it.liar.say(config, garbage)
        slowest = 0.0
        for _ in range(15):
            for _ in range(200):
                await it.liar.forge(config, rng.choice(list(FORGERIES.values())), rng.choice(signatures))
            asked = loop.time()
            assert await it.read(it.hubs[0], config[0]) == {"n": it.numbers[config[0]]}
            slowest = max(slowest, loop.time() - asked)
        lasted, fetches = loop.time() - began, await it.fetches() - before
        healed = await until_true(servers.nats_url, it.hubs[0].http, it.configs)
        report(
            "forgeries, garbage and a flood",
            lies=it.liar.told,
            seconds=lasted,
            slowest_read=slowest,
            fetches=fetches,
            stream_healed_after=healed,
            seed=seed,
        )
        # After each question a client waits twice as long for the next one to be suspicious about: 1 s, 2 s, 4 s, …
        assert 1 <= fetches <= 2 * (math.log2(1 + lasted) + 3)
        assert [each.number for each in it.followers] == [it.numbers[config[0]]] * 2
        for hub in it.hubs:
            assert await it.read(hub, config[0]) == {"n": it.numbers[config[0]]}
            assert hub.service.tail.snapshot.epoch == 1
        await it.write(config[0], it.hubs[1])
        await it.settled()


async def test_a_message_that_declares_sixty_megabytes_is_not_even_read(
    servers: Endpoints, hub: RunningHub, service_name: str
) -> None:
    url = urlsplit(servers.nats_url)
    login = {"user": url.username, "pass": url.password, "verbose": False, "pedantic": False}
    await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"n": 1}})
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(f"CONNECT {json.dumps(login)}\r\nPUB config.update.{service_name} {60 * 1024**2}\r\n".encode())
    writer.write(b"x" * 100_000)
    said = b""
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                said += piece
    writer.close()
    assert b"Maximum Payload Violation" in said
    await until_true(servers.nats_url, hub.http, [(service_name, "default")])
