"""Instances outlive the hub that heard of them, and their leases outlive the store's absence."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.faults.harness import Fleet, Hub
from tests.integration.instances import AGREED_WITHIN, Incarnation, beat, eventually, register

INSTANCES = 40
SHORTEST = 5
"""The shortest lease that there is, in seconds."""
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


async def test_leases_wait_while_no_hub_listens(fleet: Fleet, service_name: str) -> None:
    first, second = fleet.hubs
    alive, _dead = [
        await register(first.http, service_name, name, lease_seconds=SHORTEST) for name in ("alive", "dead")
    ]
    await eventually(shows(second, service_name, {"alive": "healthy", "dead": "expired"}, while_beating=alive))
    await asyncio.sleep(AGREED_WITHIN)  # that long after, a lease that ran out has done so for good
    assert (await beat(second.http, alive)).status_code == 200
    await asyncio.sleep(AGREED_WITHIN)
    await asyncio.gather(first.kill(), second.kill())
    await asyncio.sleep(2 * SHORTEST)
    await asyncio.gather(first.start(), second.start())
    for hub in (first, second):
        assert states(await listed(hub, service_name)) == {"alive": "healthy", "dead": "expired"}
    # From here on it runs as ever.
    await eventually(shows(first, service_name, {"alive": "expired", "dead": "expired"}))


async def test_while_the_store_is_dead_instances_are_told_as_they_were_last_known(
    fleet: Fleet, service_name: str
) -> None:
    first, second = fleet.hubs
    made = await register(first.http, service_name, lease_seconds=SHORTEST)
    await beat(first.http, made)
    await eventually(shows(second, service_name, {"one": "healthy"}))
    await fleet.postgres.kill()
    await asyncio.sleep(2 * SHORTEST)
    for hub in (first, second):
        for path in (f"/api/v1/discovery/{service_name}", f"/api/v1/discovery/{service_name}/route"):
            answer = await hub.http.get(path)
            assert answer.status_code == 200
            assert answer.headers["x-hub-stale"] == "true"
        assert states(await listed(hub, service_name)) == {"one": "healthy"}
    await fleet.postgres.start()

    async def is_fresh() -> bool:
        answers = [await hub.http.get(f"/api/v1/discovery/{service_name}") for hub in (first, second)]
        return not any("x-hub-stale" in answer.headers for answer in answers)

    await eventually(is_fresh, within=60)
    await eventually(shows(first, service_name, {"one": "expired"}))


@pytest.mark.parametrize("minutes", [30, -30])
async def test_a_store_whose_clock_is_set_lets_nobody_expire_and_nobody_rise(
    fleet: Fleet, service_name: str, minutes: int
) -> None:
    hub = fleet.hubs[0]
    alive, dead = [await register(hub.http, service_name, name, lease_seconds=60) for name in ("alive", "dead")]
    await beat(hub.http, alive)
    await beat(hub.http, dead)
    store = await fleet.as_superuser()
    await eventually(shows(hub, service_name, {"alive": "healthy", "dead": "healthy"}, while_beating=alive))
    await asyncio.sleep(AGREED_WITHIN)
    async with store.transaction():
        await store.execute(
            "UPDATE instances SET leased_at = leased_at - interval '2 minutes', change = change + 1,"
            " changed_in = CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
            " WHERE service = $1 AND instance_id = 'dead'",
            service_name,
        )
    await eventually(shows(hub, service_name, {"alive": "healthy", "dead": "expired"}, while_beating=alive))
    async with store.transaction():
        # What it wrote before was, by the clock that it goes by now, so much earlier.
        set_by = timedelta(minutes=minutes)
        await store.execute("UPDATE hearing SET heard_at = heard_at - $1::interval", set_by)
        await store.execute(
            "UPDATE instances SET leased_at = leased_at - $1::interval, seen_at = seen_at - $1::interval", set_by
        )
    await store.close()
    begin = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < begin + 3 * AGREED_WITHIN:
        assert states(await listed(hub, service_name)) == {"alive": "healthy", "dead": "expired"}
        await asyncio.sleep(0.1)
    await fleet.hubs[1].kill()
    await fleet.hubs[1].start()
    assert states(await listed(fleet.hubs[1], service_name)) == {"alive": "healthy", "dead": "expired"}


def states(instances: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: instance["state"] for name, instance in instances.items()}


def shows(
    hub: Hub, service: str, expected: dict[str, str], while_beating: Incarnation | None = None
) -> Callable[[], Awaitable[bool]]:
    async def does() -> bool:
        if while_beating is not None:
            assert (await beat(hub.http, while_beating)).status_code == 200
        found = states(await listed(hub, service))
        return found == expected

    return does
