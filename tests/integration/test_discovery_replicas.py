"""Two replicas on one store agree about the fleet, whoever was told what."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy.exc import ProgrammingError

from central_hub.connections.database import Database
from central_hub.storage import instances
from central_hub.storage.instance_values import Beat
from central_hub_client.wire import HealthState
from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.instances import (
    AGREED_WITHIN,
    PATIENCE,
    beat,
    eventually,
    instance_path,
    listed,
    register,
    status,
)
from tests.integration.test_config_documents import assert_problem
from tests.integration.test_status import change

Start = Callable[..., Awaitable[RunningHub]]


@pytest.fixture
async def other(hub: RunningHub, database: DatabaseUrls, start_hub: Start) -> RunningHub:
    """A second replica on the module's database."""
    return await start_hub(database)


async def test_what_one_replica_is_told_the_other_knows(hub: RunningHub, other: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name, zone="eu")
    # At once: a replica that does not know an instance looks into the store before it says so.
    assert (await beat(other.http, made, state="draining")).status_code == 200

    async def is_known() -> bool:
        return [(found["state"], found["zone"]) for found in await listed(hub, service_name)] == [("draining", "eu")]

    await eventually(is_known, within=PATIENCE)


async def test_a_registration_at_one_replica_fences_the_old_incarnation_at_the_other(
    hub: RunningHub, other: RunningHub, service_name: str
) -> None:
    old = await register(hub.http, service_name, version="old")
    await beat(other.http, old)
    await register(hub.http, service_name, version="new")

    async def is_fenced() -> bool:
        return (await beat(other.http, old, state="unhealthy")).status_code == 409

    await eventually(is_fenced, within=PATIENCE)
    # What the other one accepted before it knew must not reach the new incarnation.
    await other.service.coordination.write()
    for replica in (hub, other):
        await replica.service.coordination.catch_up()
        [found] = await listed(replica, service_name)
        assert (found["version"], found["generation"], found["state"]) == ("new", 2, "starting")


async def test_of_many_processes_of_one_name_the_last_one_stays(
    hub: RunningHub, other: RunningHub, service_name: str
) -> None:
    made = await asyncio.gather(*(register(replica.http, service_name) for replica in (hub, other) * 10))
    assert sorted(incarnation.generation for incarnation in made) == list(range(1, 21))

    async def is_settled() -> bool:
        for replica in (hub, other):
            answers = [(await beat(replica.http, each), each.generation) for each in made]
            if {generation for answer, generation in answers if answer.status_code == 200} != {20}:
                return False
            assert {answer.status_code for answer, _ in answers} == {200, 409}
        return True

    await eventually(is_settled)
    for replica in (hub, other):
        assert [found["generation"] for found in await listed(replica, service_name)] == [20]


async def test_a_deregistration_is_known_everywhere(hub: RunningHub, other: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    await beat(other.http, made)
    assert (await other.http.delete(instance_path(service_name))).status_code == 204

    async def is_gone() -> bool:
        return await listed(hub, service_name) == []

    await eventually(is_gone, within=PATIENCE)
    assert_problem(await beat(hub.http, made), 404, "not_found")


async def test_at_any_replica_the_status_is_of_what_was_written_and_registered_just_now(
    hub: RunningHub, other: RunningHub, service_name: str
) -> None:
    for number in range(5):
        service = f"{service_name}-{number}"
        written = await change(hub, service, {"a": number})
        assert (await status(other, service))["revision"] == written["revision"]
        await register(hub.http, service)
        assert (await status(other, service))["states"]["pending"] == 1


async def test_replicas_agree_within_two_seconds_most_of_the_time(
    hub: RunningHub, other: RunningHub, service_name: str
) -> None:
    """The median of several, so that one pause of a busy machine does not decide."""
    made = await register(hub.http, service_name)
    lags = []
    for number in range(5):
        state = "draining" if number % 2 == 0 else "unhealthy"
        began = asyncio.get_running_loop().time()
        await beat(hub.http, made, state=state)

        async def is_known(state: str = state) -> bool:
            return [found["state"] for found in await listed(other, service_name)] == [state]

        await eventually(is_known, within=PATIENCE)
        lags.append(asyncio.get_running_loop().time() - began)
    assert sorted(lags)[2] < AGREED_WITHIN, lags


async def test_replicas_that_write_heartbeats_of_the_same_instances_do_not_block_each_other(
    hub: RunningHub, database: DatabaseUrls, service_name: str
) -> None:
    names = [f"i{number}" for number in range(60)]
    for name in names:
        await register(hub.http, service_name, name)
    stores = [Database(database.running) for _ in range(4)]
    now = datetime.now(UTC)

    async def keep_writing(store: Database, seed: int) -> None:
        order = random.Random(seed)
        for turn in range(15):
            shuffled = order.sample(names, len(names))
            beats = [
                Beat((service_name, "default", name), 1, now + timedelta(milliseconds=turn), HealthState.DRAINING)
                for name in shuffled
            ]
            await store.transaction(lambda connection, beats=beats: instances.beat(connection, beats))

    await asyncio.gather(*(keep_writing(store, seed) for seed, store in enumerate(stores)))
    for store in stores:
        await store.close()
    await hub.service.coordination.catch_up()
    found = await listed(hub, service_name)
    assert len(found) == 60
    assert {instance["state"] for instance in found} == {"draining"}


async def test_a_transaction_that_ends_late_is_not_missed(
    hub: RunningHub, database: DatabaseUrls, service_name: str
) -> None:
    """Commits overtake each other: a reader that only remembered the newest change would never see the older one."""
    await register(hub.http, service_name, "late")
    store = Database(database.running)
    now = datetime.now(UTC)
    begun, finish = asyncio.Event(), asyncio.Event()

    async def write_slowly() -> None:
        async def work(connection: object) -> None:
            await instances.beat(
                connection,  # type: ignore[arg-type]
                [Beat((service_name, "default", "late"), 1, now, HealthState.UNHEALTHY)],
            )
            begun.set()
            await finish.wait()

        await store.transaction(work)

    slow = asyncio.create_task(write_slowly())
    await begun.wait()
    await register(hub.http, service_name, "overtaking")
    for _ in range(3):
        await hub.service.coordination.catch_up()
    assert {found["instance_id"]: found["state"] for found in await listed(hub, service_name)} == {
        "late": "starting",
        "overtaking": "starting",
    }
    finish.set()
    await slow
    await store.close()
    await hub.service.coordination.catch_up()
    assert {found["instance_id"]: found["state"] for found in await listed(hub, service_name)} == {
        "late": "unhealthy",
        "overtaking": "starting",
    }


async def test_a_new_replica_knows_the_fleet_from_its_start(
    hub: RunningHub, database: DatabaseUrls, start_hub: Start, service_name: str
) -> None:
    described = {"host": "10.0.0.1", "port": 80, "zone": "eu", "weight": 7, "version": "2", "build": "b7"}
    made = await register(
        hub.http, service_name, labels={"a": "b"}, capabilities=["x"], metadata={"m": [1]}, **described
    )
    await beat(hub.http, made, state="degraded", applied={"epoch": 1, "revision": 5}, report={"unread": ["/x"]})
    drained = await hub.http.put(instance_path(service_name), params={"force": "true"}, json={"drain": True})
    assert drained.status_code == 200
    await hub.service.coordination.write()
    late = await start_hub(database)
    assert await listed(late, service_name) == await listed(hub, service_name)
    assert (await beat(late.http, made)).status_code == 200


async def test_an_instance_of_a_history_that_was_taken_back_registers_again(
    hub: RunningHub, database: DatabaseUrls, service_name: str
) -> None:
    """After a restore the store knows an earlier generation than the one that runs: not its secret either."""
    await register(hub.http, service_name)
    later = await register(hub.http, service_name)
    owner = await asyncpg.connect(database.owner)
    await owner.execute("UPDATE instances SET generation = 1, change = 1 WHERE service = $1", service_name)
    await owner.close()
    await hub.service.coordination.reload()
    assert_problem(await beat(hub.http, later), 404, "not_found")
    again = await register(hub.http, service_name)
    assert (await beat(hub.http, again)).status_code == 200


async def test_heartbeats_that_could_not_be_written_are_kept(
    hub: RunningHub, other: RunningHub, database: DatabaseUrls, service_name: str
) -> None:
    made = await register(hub.http, service_name)
    owner = await asyncpg.connect(database.owner)
    role = Database(database.running).role
    await owner.execute(f"REVOKE UPDATE ON instances FROM {role}")
    try:
        await beat(hub.http, made, state="draining")
        with pytest.raises(ProgrammingError):
            await hub.service.coordination.write()
        await beat(hub.http, made, applied={"epoch": 1, "revision": 1})
    finally:
        await owner.execute(f"GRANT UPDATE ON instances TO {role}")
        await owner.close()

    async def is_written() -> bool:
        return [found["state"] for found in await listed(other, service_name)] == ["draining"]

    await eventually(is_written)


async def test_a_hub_that_is_told_to_stop_writes_the_heartbeats_that_it_took(
    hub: RunningHub, database: DatabaseUrls, start_hub: Start, service_name: str
) -> None:
    leaving = await start_hub(database)
    made = await register(hub.http, service_name)
    assert (await beat(leaving.http, made, state="draining")).status_code == 200
    await leaving.stop()
    await hub.service.coordination.catch_up()
    assert [found["state"] for found in await listed(hub, service_name)] == ["draining"]
