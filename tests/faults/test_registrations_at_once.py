"""After an outage a whole fleet registers within a second: all are back within a minute, and nobody else waits."""

import pytest

from bench.returning import AIM_SECONDS, Returned, observe
from bench.storm import SERVICES
from tests.faults.harness import Fleet, Hub
from tests.faults.report import report

LONGEST_ANSWER_SECONDS = 10.0
"""What a client waits for at most. It is met on a starved machine; the usual figures are in the report."""


async def test_thousands_of_instances_are_back_within_a_minute(fleet: Fleet, service_name: str, seed: int) -> None:
    await come_back(fleet, service_name, seed, instances=2_000)


@pytest.mark.soak
async def test_ten_thousand_instances_are_back_within_a_minute(fleet: Fleet, service_name: str, seed: int) -> None:
    await come_back(fleet, service_name, seed, instances=10_000)


async def come_back(fleet: Fleet, service: str, seed: int, *, instances: int) -> None:
    hub = fleet.hubs[0]
    returned: Returned = await observe(hub.http, hub.settings.port, instances=instances, service=service)
    landed = returned.landed
    assert landed.instances == instances
    assert landed.seconds < AIM_SECONDS
    slowest = max(*returned.heartbeats, *returned.reads)
    assert slowest < LONGEST_ANSWER_SECONDS
    assert sum([await healthy(hub, f"{service}-{number}") for number in range(SERVICES)]) == instances
    report(
        "registrations at once",
        seed=seed,
        instances=instances,
        seconds=landed.seconds,
        turned_away=landed.answers.get("429", 0),
        slowest_heartbeat_of_others=max(returned.heartbeats),
        slowest_route=max(returned.reads),
    )


async def healthy(hub: Hub, service: str) -> int:
    count, query = 0, {"state": "healthy", "limit": "100"}
    while True:
        page = (await hub.http.get(f"/api/v1/discovery/{service}", params=query)).json()
        count += len(page["instances"])
        if page["next"] is None:
            return count
        query["after"] = page["next"]
