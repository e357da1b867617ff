"""Changes of the fleet on the bus: signed, told by whoever learnt of them first, and never waited for."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import nats
import orjson
import pytest
from nats.aio.msg import Msg

from central_hub.coordination import announcer
from central_hub.embedded import Endpoints
from central_hub.security.signing import is_signed
from central_hub_client.wire import HUB_KEY_ID, HUB_SIGNATURE, instances_subject
from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.instances import PATIENCE, beat, eventually, instance_path, let_time_pass, listed, register

Start = Callable[..., Awaitable[RunningHub]]


class Heard:
    """What a client of the fleet hears of a service, and the connection it hears it on."""

    def __init__(self) -> None:
        self.messages: list[Msg] = []

    async def take(self, message: Msg) -> None:
        self.messages.append(message)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [orjson.loads(message.data) for message in self.messages]

    def states(self, instance_id: str = "one") -> list[str]:
        instances = (instance for told in self.told for instance in told["instances"])
        return [instance["state"] for instance in instances if instance["instance_id"] == instance_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return condition()

        await eventually(holds, within=PATIENCE)


@pytest.fixture
async def heard(servers: Endpoints, service_name: str) -> AsyncIterator[Heard]:
    heard = Heard()
    client = await nats.connect(servers.nats_client_url)
    await client.subscribe(instances_subject(service_name, "default"), cb=heard.take)
    await client.subscribe(instances_subject(service_name, "staging"), cb=heard.take)
    await client.flush()
    yield heard
    await client.close()


async def test_a_change_is_published_signed_as_it_is_listed(hub: RunningHub, heard: Heard, service_name: str) -> None:
    await register(hub.http, service_name, zone="eu")
    await heard.until(lambda: len(heard.messages) == 1)
    [message], [told] = heard.messages, heard.told
    assert message.subject == f"discovery.update.{service_name}"
    assert message.headers is not None
    keys = {key["id"]: key["public_key"] for key in (await hub.http.get("/api/v1/keys")).json()["keys"]}
    public_key = base64.b64decode(keys[message.headers[HUB_KEY_ID]])
    assert is_signed(message.data, message.headers[HUB_SIGNATURE], public_key)
    assert told.keys() == {"hub_id", "service", "environment", "as_of", "instances", "gone"}
    assert told["hub_id"] == hub.service.tail.snapshot.hub_id
    assert (told["service"], told["environment"]) == (service_name, "default")
    assert told["instances"] == await listed(hub, service_name)
    assert told["gone"] == []


async def test_environments_have_subjects_of_their_own(hub: RunningHub, heard: Heard, service_name: str) -> None:
    await register(hub.http, service_name, environment="staging")
    await heard.until(lambda: len(heard.messages) == 1)
    assert heard.messages[0].subject == f"discovery.update.{service_name}.staging"
    assert heard.told[0]["environment"] == "staging"


async def test_heartbeats_changes_and_the_end_of_an_instance_are_told(
    hub: RunningHub, heard: Heard, service_name: str
) -> None:
    made = await register(hub.http, service_name)
    await beat(hub.http, made)
    await heard.until(lambda: heard.states()[-1:] == ["healthy"])
    count = len(heard.messages)
    await beat(hub.http, made)
    await beat(hub.http, made, state="draining")
    await heard.until(lambda: heard.states()[-1:] == ["draining"])
    assert len(heard.messages) == count + 1
    await hub.http.delete(instance_path(service_name))
    gone = {"service": service_name, "environment": "default", "instance_id": "one", "generation": 1}
    await heard.until(lambda: heard.told[-1]["gone"] == [gone])


async def test_many_changes_of_a_service_are_few_messages(hub: RunningHub, heard: Heard, service_name: str) -> None:
    names = {f"i{number}" for number in range(40)}
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(register(hub.http, service_name, name) for name in names))

    def are_told() -> bool:
        return {instance["instance_id"] for told in heard.told for instance in told["instances"]} == names

    await heard.until(are_told)
    turns = (loop.time() - began) / announcer.TURN_SECONDS
    assert len(heard.messages) <= turns + 2


async def test_only_the_replica_that_was_told_tells(
    hub: RunningHub, database: DatabaseUrls, start_hub: Start, heard: Heard, service_name: str
) -> None:
    other = await start_hub(database)
    made = await register(other.http, service_name)
    assert (await beat(other.http, made, state="draining")).status_code == 200

    async def is_known() -> bool:
        return [found["state"] for found in await listed(hub, service_name)] == ["draining"]

    await eventually(is_known)
    await heard.until(lambda: heard.states()[-1:] == ["draining"])
    # What this one has read in the store it would have told before the next change.
    await hub.http.put(instance_path(service_name), json={"weight": 7})
    await heard.until(lambda: any(told["instances"][0]["weight"] == 7 for told in heard.told))
    keys = [message.headers[HUB_KEY_ID] for message in heard.messages if message.headers]
    assert set(keys[:-1]) == {other.service._key.id}
    assert keys[-1] == hub.service._key.id


async def test_a_lease_that_runs_out_is_told_by_every_replica_that_sees_it(
    hub: RunningHub, database: DatabaseUrls, start_hub: Start, heard: Heard, service_name: str
) -> None:
    other = await start_hub(database, protect_share=1.0)
    made = await register(hub.http, service_name)
    await beat(hub.http, made)
    await heard.until(lambda: heard.states()[-1:] == ["healthy"])
    await let_time_pass(hub, service_name, 3600)
    replicas = {hub.service._key.id, other.service._key.id}

    def is_told_by_all() -> bool:
        return {message.headers[HUB_KEY_ID] for message in heard.messages if message.headers} == replicas

    await heard.until(is_told_by_all)


async def test_too_much_for_one_message_is_a_hint_to_ask(
    hub: RunningHub, heard: Heard, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "MAX_PUSHED_BYTES", 500)
    await register(hub.http, service_name, metadata={"text": "x" * 500})
    await heard.until(lambda: len(heard.messages) == 1)
    assert heard.told[0].keys() == {"hub_id", "service", "environment", "as_of"}


async def test_a_hub_without_a_bus_tells_its_watchers_and_keeps_nothing(start_hub: Start, service_name: str) -> None:
    alone = await start_hub(nats_url=None)
    with alone.service.fleet_announcer.waiters.waiting_for(frozenset({service_name})) as wake:
        await register(alone.http, service_name)
        async with asyncio.timeout(PATIENCE):
            await wake.wait()

    async def is_dropped() -> bool:
        return not alone.service.coordination.news.services

    await eventually(is_dropped)
