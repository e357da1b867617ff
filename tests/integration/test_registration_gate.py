"""Instances that register all at once: some are let in, the others are told when, and nobody else notices."""

import asyncio
import re
from collections import Counter

import httpx2
import pytest

from central_hub.api import registration_gate
from central_hub.coordination import admission
from tests.conftest import RunningHub
from tests.integration.instances import beat, eventually, listed, register

REGISTER = "/api/v1/discovery/register"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_WAITING", 5)
    monkeypatch.setattr(admission, "BOOKED_A_SECOND", 10)


async def come(hub: RunningHub, service: str, number: int, path: str = REGISTER) -> httpx2.Response:
    return await hub.http.post(path, json={"name": service, "instance_id": f"i{number:02}"})


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("path", [REGISTER, "/api/discovery/register"])
async def test_who_is_too_many_is_told_when_to_come_again(hub: RunningHub, service_name: str, path: str) -> None:
    there = await register(hub.http, service_name, "there")
    answers = await asyncio.gather(*(come(hub, service_name, number, path) for number in range(40)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["code"] for answer in refused} == {"rate_limited"}
    # One after another, and not all of them in the same second.
    assert len({answer.headers["retry-after"] for answer in refused}) > 1
    assert refused[0].headers["x-content-type-options"] == "nosniff"
    assert (await beat(hub.http, there)).status_code == 200
    found = {instance["instance_id"] for instance in await listed(hub, service_name)}
    taken = {answer.json()["instance_id"] for answer in answers if answer.status_code == 200}
    assert found == taken | {"there"}
    assert (await come(hub, service_name, 99, path)).status_code == 200


@pytest.mark.usefixtures("narrow")
async def test_those_turned_away_are_counted(hub: RunningHub, service_name: str) -> None:
    before = await turned_away(hub)
    answers = await asyncio.gather(*(come(hub, service_name, number) for number in range(40)))
    refused = sum(answer.status_code == 429 for answer in answers)
    assert await turned_away(hub) == before + refused > before


async def test_who_may_not_register_is_told_so_and_not_to_come_again(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MOST_WAITING", 0)
    assert (await come(hub, service_name, 1)).status_code == 429
    for token, status in ((None, 401), ("wrong", 401), (await hub.new_token(verbs=["read"]), 403)):
        async with hub.client(token) as client:
            assert (await client.post(REGISTER, json={"name": service_name})).status_code == status


async def test_who_waits_too_long_for_his_turn_is_turned_away_and_not_registered(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration_gate, "LONGEST_WAIT_SECONDS", 0.2)
    go_on = asyncio.Event()
    transaction = hub.service.connections.database.transaction
    held_up = 0

    async def slow(work: object) -> object:
        nonlocal held_up
        if "register" in getattr(work, "__qualname__", ""):
            held_up += 1
            await go_on.wait()
        return await transaction(work)  # type: ignore[arg-type]

    monkeypatch.setattr(hub.service.connections.database, "transaction", slow)
    coming = [asyncio.create_task(come(hub, service_name, number)) for number in range(registration_gate.AT_ONCE)]

    async def all_are_held_up() -> bool:
        return held_up == registration_gate.AT_ONCE

    await eventually(all_are_held_up)
    late = await come(hub, service_name, 99)
    assert (late.status_code, late.json()["code"]) == (429, "rate_limited")
    go_on.set()
    assert {(await each).status_code for each in coming} == {200}
    assert "i99" not in {instance["instance_id"] for instance in await listed(hub, service_name)}


async def test_a_caller_that_hung_up_while_it_waited_is_not_registered(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    has_turn = registration_gate.RegistrationGate._has_turn
    waiting = 0

    async def wait_first(gate: registration_gate.RegistrationGate) -> bool:
        nonlocal waiting
        waiting += 1
        await go_on.wait()
        return await has_turn(gate)

    monkeypatch.setattr(registration_gate.RegistrationGate, "_has_turn", wait_first)
    async with httpx2.AsyncClient(base_url=hub.url, headers=hub.http.headers) as impatient:
        coming = asyncio.create_task(impatient.post(REGISTER, json={"name": service_name, "instance_id": "gone"}))

        async def waits() -> bool:
            return waiting == 1

        await eventually(waits)
        coming.cancel()
    await asyncio.sleep(0.2)
    go_on.set()
    # It came again, and was registered; the first attempt must not fence it afterwards.
    made = await register(hub.http, service_name, "gone")
    assert made.generation == 1
    assert (await beat(hub.http, made)).status_code == 200


async def turned_away(hub: RunningHub) -> float:
    exposed = (await hub.http.get("/metrics")).text
    pattern = r'central_hub_requests_total{method="POST",route="/discovery/register",status="429"} (\S+)'
    found = re.search(pattern, exposed)
    return 0.0 if found is None else float(found[1])
