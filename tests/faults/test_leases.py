"""Instances outlive the hub that heard of them, and their leases outlive the store's absence."""

import asyncio
from typing import Any

from tests.faults.harness import Fleet, Hub
from tests.integration.instances import Incarnation, beat, eventually, register

INSTANCES = 40
LEASE_SECONDS = 120
"""Longer than any restart takes on a busy machine: what runs out here was lost."""


async def listed(hub: Hub, service: str) -> dict[str, dict[str, Any]]:
    answer = await hub.http.get(f"/api/v1/discovery/{service}")
    assert answer.status_code == 200, answer.text
    return {instance["instance_id"]: instance for instance in answer.json()["instances"]}


async def run_instances(hub: Hub, service: str) -> list[Incarnation]:
    return [
        await register(hub.http, service, f"i{number:02}", lease_seconds=LEASE_SECONDS) for number in range(INSTANCES)
    ]


async def test_a_killed_hub_loses_no_instance(fleet: Fleet, service_name: str) -> None:
    first, second = fleet.hubs
    made = await run_instances(first, service_name)
    for incarnation in made:
        assert (await beat(first.http, incarnation, state="draining")).status_code == 200
    await first.kill()
    names = [incarnation.instance_id for incarnation in made]

    async def knows_all_of_them() -> bool:
        return sorted(await listed(second, service_name)) == names

    await eventually(knows_all_of_them)
    for incarnation in made[::2]:
        assert (await beat(second.http, incarnation, state="unhealthy")).status_code == 200
    await second.kill()
    await asyncio.gather(first.start(), second.start())
    for hub in (first, second):
        found = await listed(hub, service_name)
        assert sorted(found) == names
        assert {instance["generation"] for instance in found.values()} == {1}
        assert "expired" not in {instance["state"] for instance in found.values()}
    # The secrets still prove the same incarnations: nobody has to register again.
    answers = [await beat(hub.http, incarnation) for incarnation in made for hub in (first, second)]
    assert {answer.status_code for answer in answers} == {200}


async def test_heartbeats_are_taken_while_the_store_is_dead_and_written_when_it_is_back(
    fleet: Fleet, service_name: str
) -> None:
    first, second = fleet.hubs
    made = await run_instances(first, service_name)
    await fleet.postgres.kill()
    for incarnation in made:
        assert (await beat(first.http, incarnation, state="draining")).status_code == 200
    unknown = await first.http.post("/api/v1/discovery/register", json={"name": service_name})
    assert unknown.status_code == 503
    # Not 404: whether there is such an instance cannot be known now, and it must not register again for that.
    nobody = Incarnation(service_name, "nobody", 1, "secret")
    assert (await beat(first.http, nobody)).status_code == 503
    assert {instance["state"] for instance in (await listed(first, service_name)).values()} == {"draining"}
    await fleet.postgres.start()

    async def is_written() -> bool:
        return {instance["state"] for instance in (await listed(second, service_name)).values()} == {"draining"}

    await eventually(is_written, within=60)
    assert (await beat(first.http, nobody)).status_code == 404
