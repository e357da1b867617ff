"""G4: a client that is sent from replica to replica, some of them late, some paused, never goes backwards."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from central_hub_client import ConfigChange, ConfigClient, held_config
from central_hub_client.acceptance import Decision, Known, Verdict
from central_hub_client.wire import ConfigObject, Position
from tests.faults.harness import Fleet, Hub, own_fleet
from tests.faults.report import report
from tests.faults.tcp_forwarder import TcpForwarder
from tests.wire.waiting import until


@pytest.fixture(scope="module")
async def three() -> AsyncIterator[Fleet]:
    """Three replicas, one of which follows the log late."""
    async with own_fleet(hubs=3) as fleet:
        late = fleet.hubs[2]
        await late.kill()
        await late.start("lag_behind")
        yield fleet


@dataclass
class Seen:
    """What a service sees of its configuration: every number it is told, and every position it runs on."""

    numbers: list[int] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)

    def told(self, change: ConfigChange) -> None:
        self.numbers.append(change.new["n"])

    async def look(self, client: ConfigClient) -> None:
        """Look at what the client runs on, until cancelled."""
        while True:
            status = client.status
            if status.epoch is not None and status.revision is not None:
                position = Position(status.epoch, status.revision)
                if self.positions[-1:] != [position]:
                    self.positions.append(position)
            await asyncio.sleep(0.001)

    def violations(self) -> list[str]:
        found = []
        if self.positions != sorted(set(self.positions)):
            found.append(f"the client went back: {[str(position) for position in self.positions]}")
        if self.numbers != sorted(set(self.numbers)):
            found.append(f"a listener was told twice or of an older value: {self.numbers}")
        return found


async def disturb(hubs: list[Hub], forwarder: TcpForwarder, rng: random.Random, pauses: list[str]) -> None:
    """Pause replicas and cut connections, until cancelled."""
    while True:
        hub = rng.choice(hubs)
        hub.freeze()
        pauses.append(hub.name)
        try:
            await asyncio.sleep(rng.uniform(0.05, 0.5))
            if rng.random() < 0.5:
                forwarder.cut_all()
                await asyncio.sleep(rng.uniform(0, 0.2))
        finally:
            hub.thaw()
        await asyncio.sleep(rng.uniform(0, 0.2))


async def shuffle(fleet: Fleet, rng: random.Random, seed: int, directory: Path, service: str, *, writes: int) -> Seen:
    """Write number after number on any replica, while one client is shuffled between them."""
    forwarder = TcpForwarder([hub.settings.port for hub in fleet.hubs], rng)
    seen, pauses = Seen(), []
    async with forwarder.listening() as url:
        client = ConfigClient(
            service, url, token=fleet.token, cache_dir=directory, safe_defaults={"n": -1}, cache_ttl_seconds=1
        )
        client.on_config_update(seen.told)
        async with client:
            tasks = [
                asyncio.create_task(seen.look(client)),
                asyncio.create_task(disturb(fleet.hubs, forwarder, rng, pauses)),
            ]
            try:
                for number in range(writes):
                    hub = rng.choice(fleet.hubs)
                    body = {"config": {"n": number}}
                    answer = await hub.http.post(f"/api/v1/config/{service}", json=body)
                    assert answer.status_code == 200, answer.text
                    await asyncio.sleep(rng.uniform(0, 0.1))
                last = Position(answer.json()["epoch"], answer.json()["revision"])
            finally:
                tasks[1].cancel()
                await asyncio.wait({tasks[1]})
            took = await until(lambda: seen.positions[-1:] == [last] and seen.numbers[-1:] == [number], within=60)
            tasks[0].cancel()
    report(
        "one client, three replicas in turn, one late, some paused",
        pauses=len(pauses),
        connections=forwarder.connections,
        cut=forwarder.cut,
        written=writes,
        applied=len(seen.positions),
        last_value_after=took,
        seed=seed,
    )
    return seen


@pytest.mark.timeout(150)
async def test_a_client_that_is_shuffled_between_replicas_never_goes_backwards(
    three: Fleet, rng: random.Random, seed: int, tmp_path: Path, service_name: str
) -> None:
    seen = await shuffle(three, rng, seed, tmp_path, service_name, writes=40)
    assert len(seen.positions) > 5
    assert seen.violations() == []


@pytest.mark.soak
async def test_a_client_that_is_shuffled_for_long_never_goes_backwards(
    three: Fleet, rng: random.Random, seed: int, tmp_path: Path, service_name: str
) -> None:
    seen = await shuffle(three, rng, seed, tmp_path, service_name, writes=3_000)
    assert seen.violations() == []


@pytest.mark.timeout(150)
@pytest.mark.soak
async def test_a_client_that_takes_whatever_comes_is_found(
    three: Fleet,
    rng: random.Random,
    seed: int,
    tmp_path: Path,
    service_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take_it(known: Known, received: ConfigObject) -> Decision:
        same = (known.position, known.hash) == (received.position, received.hash)
        return Decision(Verdict.IGNORE if same else Verdict.APPLY, "it came")

    monkeypatch.setattr(held_config, "judge_answer", take_it)
    found: list[str] = []
    for attempt in range(3):  # chance may spare it once
        seen = await shuffle(three, rng, seed, tmp_path / str(attempt), f"{service_name}-{attempt}", writes=40)
        found += [violation for violation in seen.violations() if "went back" in violation]
        if found:
            break
    assert found != []
