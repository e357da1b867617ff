"""An operator drains instances: over HTTP and with `central-hub drain`, against a real hub and a second replica."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.instances import PATIENCE, Incarnation, beat, eventually, instance_path, listed, register
from tests.integration.test_cli import Run, cli
from tests.integration.test_config_documents import assert_problem

__all__ = ["cli"]

Start = Callable[..., Awaitable[RunningHub]]


async def healthy(hub: RunningHub, service: str, *names: str, **told: Any) -> list[Incarnation]:
    made = [await register(hub.http, service, name, **told) for name in names]
    for incarnation in made:
        assert (await beat(hub.http, incarnation, state="healthy")).status_code == 200
    return made


async def order(hub: RunningHub, service: str, name: str, body: dict[str, Any], **query: Any) -> httpx2.Response:
    return await hub.http.put(instance_path(service, name), json=body, params=query)


async def states(hub: RunningHub, service: str) -> dict[str, str]:
    return {found["instance_id"]: found["state"] for found in await listed(hub, service)}


async def routed(hub: RunningHub, service: str) -> set[str]:
    answers = [await hub.http.get(f"/api/v1/discovery/{service}/route") for _ in range(4)]
    return {answer.json()["instance"]["instance_id"] for answer in answers}


async def test_a_drained_instance_is_not_routed_to_until_that_is_taken_back(hub: RunningHub, service_name: str) -> None:
    one, _ = await healthy(hub, service_name, "one", "two")
    began = datetime.now(UTC)
    drained = await order(hub, service_name, "one", {"drain": True, "reason": "a new disk"})
    assert drained.status_code == 200, drained.text
    told = drained.json()
    assert (told["state"], told["drain"]["by"], told["drain"]["reason"]) == ("draining", "admin", "a new disk")
    assert abs(datetime.fromisoformat(told["drain"]["at"]) - began) < timedelta(minutes=1)
    for state in ("healthy", "degraded", "starting", None):
        answer = await beat(hub.http, one, **({} if state is None else {"state": state}))
        assert answer.json() == {"lease_seconds": 30, "drain": True}
        assert await states(hub, service_name) == {"one": "draining", "two": "healthy"}
    assert await routed(hub, service_name) == {"two"}
    await beat(hub.http, one, state="unhealthy")
    assert (await states(hub, service_name))["one"] == "unhealthy"
    await beat(hub.http, one, state="healthy")
    back = (await order(hub, service_name, "one", {"drain": False})).json()
    assert (back["state"], back["drain"]) == ("healthy", None)
    assert await routed(hub, service_name) == {"one", "two"}
    assert (await beat(hub.http, one)).json()["drain"] is False


async def test_who_drained_first_is_remembered_and_other_changes_leave_it(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "one", "two", version="1")
    token = await hub.new_token(name="night shift", verbs=["register"])
    async with hub.client(token) as http:
        first = await http.put(instance_path(service_name), json={"drain": True, "version": "2"})
    assert (first.json()["drain"]["by"], first.json()["version"]) == ("night shift", "2")
    again = await order(hub, service_name, "one", {"drain": True, "reason": "as well"})
    assert again.json()["drain"] == first.json()["drain"]
    described = await order(hub, service_name, "one", {"weight": 3})
    assert (described.json()["drain"], described.json()["weight"]) == (first.json()["drain"], 3)


async def test_a_new_process_begins_undrained(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "one", "two")
    await order(hub, service_name, "one", {"drain": True})
    stale = await order(hub, service_name, "one", {"drain": False, "generation": 1})
    assert stale.status_code == 200
    await order(hub, service_name, "one", {"drain": True})
    await healthy(hub, service_name, "one")
    assert await states(hub, service_name) == {"one": "healthy", "two": "healthy"}
    assert_problem(await order(hub, service_name, "one", {"drain": True, "generation": 1}), 409, "stale_generation")


async def test_the_last_one_that_can_be_called_is_drained_only_by_force(hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "one", "two")
    assert (await order(hub, service_name, "one", {"drain": True})).status_code == 200
    refused = await order(hub, service_name, "two", {"drain": True, "weight": 7})
    assert_problem(refused, 409, "no_instance")
    assert "without two no instance of" in refused.json()["detail"]
    [_, two] = await listed(hub, service_name)
    assert (two["state"], two["weight"], two["drain"]) == ("healthy", 1, None)
    # It is drained already: nothing is taken away.
    assert (await order(hub, service_name, "one", {"drain": True})).status_code == 200
    forced = await order(hub, service_name, "two", {"drain": True}, force="true")
    assert forced.json()["state"] == "draining"


@pytest.mark.parametrize(
    "body", [{"drain": "yes"}, {"drain": 1}, {"drain": True, "reason": "x" * 201}, {"drain": True, "reason": "a\x00b"}]
)
async def test_an_order_that_is_none_is_refused(hub: RunningHub, service_name: str, body: dict[str, Any]) -> None:
    await healthy(hub, service_name, "one", "two")
    assert (await order(hub, service_name, "one", body)).status_code in (400, 422)
    assert set((await states(hub, service_name)).values()) == {"healthy"}


async def test_every_replica_sees_it_and_so_does_the_next_hub(
    hub: RunningHub, database: DatabaseUrls, start_hub: Start, service_name: str
) -> None:
    other = await start_hub(database)
    one, _ = await healthy(hub, service_name, "one", "two")

    async def is_known() -> bool:
        return await states(other, service_name) == {"one": "healthy", "two": "healthy"}

    await eventually(is_known, within=PATIENCE)
    await order(hub, service_name, "one", {"drain": True})

    async def is_drained() -> bool:
        return (await states(other, service_name))["one"] == "draining"

    await eventually(is_drained, within=PATIENCE)
    assert (await beat(other.http, one, state="healthy")).json()["drain"] is True
    assert await routed(other, service_name) == {"two"}
    # By what the store says: the other one may not have heard of it yet.
    assert_problem(await order(other, service_name, "two", {"drain": True}), 409, "no_instance")
    later = await start_hub(database)
    assert await states(later, service_name) == {"one": "draining", "two": "healthy"}
    await order(later, service_name, "one", {"drain": False})

    async def is_back() -> bool:
        return await states(hub, service_name) == {"one": "healthy", "two": "healthy"}

    await eventually(is_back, within=PATIENCE)


async def test_of_all_instances_drained_at_once_one_is_left(
    hub: RunningHub, database: DatabaseUrls, start_hub: Start, service_name: str
) -> None:
    other = await start_hub(database)
    names = [f"i-{number}" for number in range(6)]
    await healthy(hub, service_name, *names)
    await hub.service.coordination.write()
    await other.service.coordination.catch_up()
    answers = await asyncio.gather(
        *(order(replica, service_name, name, {"drain": True}) for name in names for replica in (hub, other))
    )
    assert {answer.status_code for answer in answers} == {200, 409}
    await hub.service.coordination.catch_up()
    assert sorted((await states(hub, service_name)).values()) == ["draining"] * 5 + ["healthy"]


async def test_the_program_drains_and_puts_back(cli: Run, hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "one", "two", "three")
    done = await cli("drain", service_name, "one", "two", "--reason", "a new kernel")
    assert (done.code, done.out) == (0, "one: drained, draining\ntwo: drained, draining\n"), done.err
    shown = (await cli("instances", service_name)).out
    assert shown.count("draining (drained by admin: a new kernel)") == 2
    refused = await cli("drain", service_name, "three")
    assert refused.code == 1
    assert "without three no instance of" in refused.err
    assert (await cli("drain", service_name, "three", "--force")).code == 0
    back = await cli("drain", service_name, "one", "--undo", "--json")
    assert [instance["state"] for instance in back.json] == ["healthy"]
    assert (await cli("drain", service_name, "four")).code == 1


async def test_the_program_drains_a_zone_or_nothing_of_it(cli: Run, hub: RunningHub, service_name: str) -> None:
    await healthy(hub, service_name, "a-1", "a-2", zone="a")
    everybody = await cli("drain", service_name, "--all-in-zone", "a")
    assert everybody.code == 1
    assert "nothing was changed" in everybody.err
    assert set((await states(hub, service_name)).values()) == {"healthy"}
    await healthy(hub, service_name, "b-1", zone="b")
    assert (await cli("drain", service_name, "--all-in-zone", "a")).code == 0
    assert await routed(hub, service_name) == {"b-1"}
    assert (await cli("drain", service_name, "--all-in-zone", "nowhere")).code == 1
    for wrong in ((), ("a-1", "--all-in-zone", "a"), ("no instance",)):
        assert (await cli("drain", service_name, *wrong)).code == 2
