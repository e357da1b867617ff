"""A hub is killed while it probes: its targets are probed by the other one, and by one at a time before and after.

Each hub reads a file of its own, in which every target has a door of its own for that hub: so it is seen at the target
who probes it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.faults.harness import Fleet, Hub, own_fleet
from tests.faults.report import report
from tests.wire.waiting import until

TARGETS = [f"t{number:02}" for number in range(12)]
INTERVAL_SECONDS = 1.0
PROBE = {"interval_seconds": INTERVAL_SECONDS, "timeout_seconds": 0.5}
TAKEN_OVER_WITHIN = 30.0
"""The promise."""
JOINED_WITHIN = 10.0
"""Who was there before looks for new replicas every five seconds; until then both probe what is the new one's."""
LONG = 90.0


@dataclass
class Doors:
    """The moments at which each target was asked through the doors of one hub."""

    asked: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TARGETS})
    ports: dict[str, int] = field(default_factory=dict)

    async def open(self, stack: AsyncExitStack) -> None:
        for name in TARGETS:

            def arrive(_: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
                self.asked[name].append(time.monotonic())
                writer.close()

            server = await stack.enter_async_context(await asyncio.start_server(arrive, "127.0.0.1", 0))
            self.ports[name] = server.sockets[0].getsockname()[1]

    def write(self, file: Path) -> Path:
        """The file of the infrastructure for the hub whose doors these are."""
        components = {
            name: {"type": "tcp", "host": "127.0.0.1", "port": port, "probe": {**PROBE}}
            for name, port in self.ports.items()
        }
        file.write_text(yaml.safe_dump({"version": 1, "endpoints": components}))
        return file

    def since(self, moment: float) -> set[str]:
        """The targets that were asked after that."""
        return {name for name, moments in self.asked.items() if moments and moments[-1] > moment}


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with own_fleet(hubs=0) as fleet:
        yield fleet


async def add_hub(fleet: Fleet, stack: AsyncExitStack) -> tuple[Hub, Doors]:
    doors = Doors()
    await doors.open(stack)
    file = doors.write(fleet.directory / f"infrastructure-{len(fleet.hubs)}.yaml")
    return fleet.add_hub(infrastructure_file=file), doors


@pytest.mark.timeout(300)
async def test_the_targets_of_a_killed_hub_are_probed_by_the_other_within_half_a_minute(
    fleet: Fleet, seed: int
) -> None:
    async with AsyncExitStack() as stack:
        (first, at_first), (second, at_second) = await add_hub(fleet, stack), await add_hub(fleet, stack)
        await first.start()
        await until(lambda: at_first.since(0) == set(TARGETS), within=LONG)
        await second.start()
        await until(lambda: are_shared(at_first, at_second), within=LONG)
        shared_at = time.monotonic()
        twice = longest_overlap(at_first, at_second)

        await asyncio.sleep(4 * INTERVAL_SECONDS)
        of_first, of_second = at_first.since(shared_at), at_second.since(shared_at)
        assert of_first | of_second == set(TARGETS)
        assert not of_first & of_second, "a target is probed by both in the steady state"
        asked = [sum(moment > shared_at for moment in at_second.asked[name]) for name in of_second]
        assert max(asked) <= (time.monotonic() - shared_at) / (0.9 * INTERVAL_SECONDS) + 1

        await second.kill()
        killed_at = time.monotonic()
        await until(lambda: at_first.since(killed_at) == set(TARGETS), within=LONG)
        taken_over = max(next(each for each in at_first.asked[name] if each > killed_at) for name in TARGETS)
        assert not at_second.since(killed_at + INTERVAL_SECONDS)
    seconds = taken_over - killed_at
    report("a hub that probes is killed", targets=len(of_second), taken_over_s=seconds, both_s=twice, seed=seed)
    assert seconds < TAKEN_OVER_WITHIN
    assert twice < JOINED_WITHIN


def are_shared(at_first: Doors, at_second: Doors) -> bool:
    """Whether every target was asked by one of them alone for three intervals, and both have some."""
    lately = time.monotonic() - 3 * INTERVAL_SECONDS
    of_first, of_second = at_first.since(lately), at_second.since(lately)
    return bool(of_first) and bool(of_second) and not of_first & of_second and of_first | of_second == set(TARGETS)


def longest_overlap(at_first: Doors, at_second: Doors) -> float:
    """For how long both asked the same target, while the second one came."""
    return max(
        (at_first.asked[name][-1] - moments[0] for name, moments in at_second.asked.items() if moments), default=0.0
    )
