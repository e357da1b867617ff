"""What the fleet's credentials may and may not do on the embedded NATS."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from central_hub.embedded import EmbeddedServers
from central_hub_client.wire import STREAM
from tests.integration.embedded_hub import data_directory

DIRECT_GET = f"$JS.API.DIRECT.GET.{STREAM}"


@dataclass
class Fleet:
    """A hub's connection, a client's, and what the client was told."""

    hub: Client
    client: Client
    errors: list[str] = field(default_factory=list)
    heard: list[Msg] = field(default_factory=list)

    async def settle(self) -> None:
        await self.client.flush()
        await self.hub.flush()
        await asyncio.sleep(0.1)

    async def hear(self, message: Msg) -> None:
        self.heard.append(message)

    async def on_error(self, error: Exception) -> None:
        self.errors.append(str(error))


@pytest.fixture(scope="module")
async def fleet() -> AsyncIterator[Fleet]:
    with data_directory() as path:
        servers = EmbeddedServers(path)
        endpoints = await servers.start()
        fleet = Fleet(await nats.connect(endpoints.nats_url), Client())
        await fleet.client.connect(endpoints.nats_client_url, error_cb=fleet.on_error)
        context = fleet.hub.jetstream()
        await context.add_stream(name=STREAM, subjects=["config.update.>"], max_msgs_per_subject=1, allow_direct=True)
        yield fleet
        await fleet.client.close()
        await fleet.hub.close()
        await servers.stop()


@pytest.fixture(autouse=True)
async def _fresh(fleet: Fleet) -> None:
    fleet.errors.clear()
    fleet.heard.clear()


async def test_a_client_hears_updates_and_bookmarks_with_their_headers(fleet: Fleet) -> None:
    subjects = ("config.update.billing", "config.update.billing.staging", "config.bookmark", "discovery.update.billing")
    for subject in ("config.update.billing", "config.update.*.staging", "config.bookmark", "discovery.update.>"):
        await fleet.client.subscribe(subject, cb=fleet.hear)
    await fleet.settle()
    for subject in subjects:
        await fleet.hub.publish(subject, subject.encode(), headers={"Hub-Signature": "abc"})
    await fleet.settle()
    assert {(message.subject, message.data.decode()) for message in fleet.heard} == {(s, s) for s in subjects}
    assert all(message.headers is not None and message.headers["Hub-Signature"] == "abc" for message in fleet.heard)
    assert fleet.errors == []


async def test_a_client_reads_the_last_message_of_a_subject(fleet: Fleet) -> None:
    context = fleet.hub.jetstream()
    for payload in (b"first", b"second"):
        await context.publish("config.update.last", payload, headers={"Hub-Signature": "abc"})
    found = await fleet.client.request(f"{DIRECT_GET}.config.update.last", timeout=2)
    assert found.data == b"second"
    assert found.headers is not None
    assert found.headers["Hub-Signature"] == "abc"
    missing = await fleet.client.request(f"{DIRECT_GET}.config.update.nobody", timeout=2)
    assert missing.headers is not None
    assert missing.headers["Status"] == "404"
    assert fleet.errors == []


@pytest.mark.parametrize(
    "subject",
    [
        "config.update.billing",
        "config.update.billing.staging",
        "config.bookmark",
        "discovery.update.billing",
        "anything",
        "_INBOX.of.another",
        DIRECT_GET,
        f"$JS.API.STREAM.INFO.{STREAM}",
        f"$JS.API.STREAM.PURGE.{STREAM}",
        f"$JS.API.STREAM.DELETE.{STREAM}",
        f"$JS.API.STREAM.MSG.DELETE.{STREAM}",
        f"$JS.API.CONSUMER.CREATE.{STREAM}",
        "$JS.API.STREAM.NAMES",
        "$SYS.REQ.SERVER.PING",
    ],
)
async def test_a_client_may_not_publish(fleet: Fleet, subject: str) -> None:
    if not subject.startswith("$"):
        await fleet.hub.subscribe(subject, cb=fleet.hear)
    await fleet.settle()
    await fleet.client.publish(subject, b"forged")
    await fleet.settle()
    assert [error for error in fleet.errors if "permissions violation for publish" in error]
    assert [message for message in fleet.heard if message.data == b"forged"] == []


@pytest.mark.parametrize(
    "subject", [">", "*.>", "config.>", "config.other", "discovery.>", "$JS.>", "$SYS.>", "_HUB.>"]
)
async def test_a_client_may_not_listen_elsewhere(fleet: Fleet, subject: str) -> None:
    await fleet.client.subscribe(subject, cb=fleet.hear)
    await fleet.settle()
    assert [error for error in fleet.errors if "permissions violation for subscription" in error]


async def test_a_client_cannot_hear_what_the_hub_is_answered(fleet: Fleet) -> None:
    await fleet.client.subscribe("_INBOX.>", cb=fleet.hear)
    await fleet.settle()
    await fleet.hub.jetstream().stream_info(STREAM)
    await fleet.hub.jetstream().publish("config.update.private", b"acknowledged in the hub's inbox")
    await fleet.settle()
    assert fleet.heard == []


async def test_a_client_cannot_have_the_server_write_for_it(fleet: Fleet) -> None:
    """A direct get is answered to the subject that its sender names, whether he may publish there or not."""
    context = fleet.hub.jetstream()
    await context.publish("config.update.mine", b"genuine, of another service")
    await context.publish("config.update.victim", b"genuine")
    subscription = await fleet.hub.subscribe("config.update.>", cb=fleet.hear)
    await fleet.settle()
    await fleet.client.publish(f"{DIRECT_GET}.config.update.mine", b"", reply="config.update.victim")
    await fleet.settle()
    assert fleet.heard == []
    assert (await context.get_last_msg(STREAM, "config.update.victim")).data == b"genuine"
    await subscription.unsubscribe()
