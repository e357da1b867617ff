"""G5: the stream keeps the last true message of every config, whatever was done to it."""

from collections.abc import AsyncIterator

import nats
import orjson
import pytest
from nats.aio.client import Client

from central_hub.config import announcer
from central_hub.embedded import Endpoints
from central_hub_client.wire import STREAM, UPDATE_SUBJECTS, content_hash, update_subject
from tests.conftest import RunningHub, create_database, hub_settings, running_hub
from tests.faults.report import report
from tests.faults.stream import Config, until_true

LIE = {"lie": True}


@pytest.fixture
async def intruder(servers: Endpoints) -> AsyncIterator[Client]:
    """Somebody with all the rights of a hub on the bus, except for its key."""
    client = await nats.connect(servers.nats_url)
    yield client
    await client.close()


@pytest.fixture(scope="module")
async def watchful_hub(servers: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningHub]:
    """A hub that looks at the stream often. The other one does not while a test lasts."""
    settings = hub_settings(servers, await create_database(servers), tmp_path_factory.mktemp("hub"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(announcer, "LOOK_SECONDS", 0.5)
        async with running_hub(settings) as hub:
            yield hub


async def some_configs(servers: Endpoints, hub: RunningHub, name: str) -> list[Config]:
    """A few configs that the stream is true of."""
    configs = [(f"{name}-{number}", "default") for number in range(5)]
    for service, _ in configs:
        await write(hub, service, 0)
    await until_true(servers.nats_url, hub.http, configs)
    return configs


async def write(hub: RunningHub, service: str, number: int) -> dict[str, object]:
    answer = await hub.http.post(f"/api/v1/config/{service}", json={"config": {"n": number}})
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


async def test_a_deleted_stream_is_made_and_filled_again_by_the_next_write(
    servers: Endpoints, hub: RunningHub, intruder: Client, service_name: str, seed: int
) -> None:
    configs = await some_configs(servers, hub, service_name)
    await intruder.jetstream().delete_stream(STREAM)
    answer = await write(hub, configs[0][0], 1)
    assert answer["announced"] is False
    took = await until_true(servers.nats_url, hub.http, configs)
    report("a deleted stream, and a write", filled_after=took, seed=seed)


async def test_a_deleted_stream_is_filled_again_without_a_write(
    servers: Endpoints,
    watchful_hub: RunningHub,
    intruder: Client,
    service_name: str,
    seed: int,
) -> None:
    configs = await some_configs(servers, watchful_hub, service_name)
    await intruder.jetstream().delete_stream(STREAM)
    took = await until_true(servers.nats_url, watchful_hub.http, configs)
    report("a deleted stream", filled_after=took, seed=seed)


@pytest.mark.parametrize("subject", [">", None], ids=["everything", "one config"])
async def test_a_purged_stream_is_filled_again_without_a_write(
    servers: Endpoints,
    watchful_hub: RunningHub,
    intruder: Client,
    service_name: str,
    seed: int,
    subject: str | None,
) -> None:
    configs = await some_configs(servers, watchful_hub, service_name)
    await intruder.jetstream().purge_stream(STREAM, subject=subject or update_subject(*configs[0]))
    took = await until_true(servers.nats_url, watchful_hub.http, configs)
    report("a purged stream", filled_after=took, seed=seed)


async def test_a_forged_message_that_takes_the_id_of_the_next_revision_does_not_stay(
    servers: Endpoints, hub: RunningHub, intruder: Client, service_name: str
) -> None:
    """The server drops a message whose id it has just seen, and acknowledges it all the same."""
    configs = await some_configs(servers, hub, service_name)
    service = configs[0][0]
    subject = update_subject(service, "default")
    first = (await hub.http.get(f"/api/v1/config/{service}")).json()
    written = await write(hub, service, 1)
    for number in range(2, 7):
        revision = int(str(written["revision"])) + 1
        forged = first | {"config": LIE, "hash": content_hash(LIE), "revision": revision}
        headers = {"Nats-Msg-Id": f"{first['epoch']}.{revision}.{service}.default"}
        await intruder.jetstream().publish(subject, orjson.dumps(forged), headers=headers)
        written = await write(hub, service, number)
        assert written["revision"] == revision
    await until_true(servers.nats_url, hub.http, configs)


async def test_a_true_message_in_the_wrong_place_is_no_announcement(
    servers: Endpoints, hub: RunningHub, intruder: Client, service_name: str
) -> None:
    await write(hub, service_name, 0)
    subject = update_subject(service_name, "default")
    genuine = await intruder.jetstream().get_last_msg(STREAM, subject)
    await intruder.publish(subject, b"{}")
    await intruder.publish(f"{subject}.default", genuine.data or b"", headers=genuine.headers)
    await until_true(servers.nats_url, hub.http, [(service_name, "default")])
    await intruder.jetstream().purge_stream(STREAM, subject=f"{subject}.default")


async def test_what_was_dropped_unread_in_a_flood_does_not_stay(
    servers: Endpoints, hub: RunningHub, intruder: Client, service_name: str, seed: int
) -> None:
    configs = await some_configs(servers, hub, service_name)
    bus = hub.service.connections.bus
    assert bus is not None
    assert bus._client is not None
    # As if it had half a million messages to work off already: the last lies are not even heard.
    for subscription in bus._client._subs.values():
        if subscription.subject == UPDATE_SUBJECTS:
            subscription._pending_queue._maxsize = 10  # type: ignore[attr-defined]
    for config in [configs[0]] * 300 + configs[1:]:
        await intruder.publish(update_subject(*config), b"{}")
    took = await until_true(servers.nats_url, hub.http, configs)
    report("messages dropped unread", filled_after=took, seed=seed)
