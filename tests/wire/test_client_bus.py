"""Updates over a real NATS, from a hub that tells the truth and from everybody else."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central_hub_client import ConfigClient, Source
from central_hub_client.wire import BOOKMARK_SUBJECT, ConfigObject, content_hash
from tests.unit.client.objects import SERVICE, config_object
from tests.wire.nats_server import NatsServer, Publisher
from tests.wire.one_config import OneConfig
from tests.wire.scripted_server import ScriptedServer, scripted_server
from tests.wire.waiting import until

ClientOf = Callable[..., ConfigClient]


@dataclass
class Scene:
    """A hub, its bus, and a client that follows it over the bus alone."""

    hub: OneConfig
    http: ScriptedServer
    bus: NatsServer
    publisher: Publisher
    client: ConfigClient

    @property
    def fetches(self) -> int:
        return len(self.http.asked(f"config/{SERVICE}"))

    async def present(self, revision: int, config: dict[str, Any], **changes: Any) -> None:
        """The hub moves on, and announces it."""
        self.hub.current = config_object(revision, config, **changes)
        await self.publisher.announce(self.hub)


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def publisher(bus: NatsServer) -> AsyncIterator[Publisher]:
    publisher = await bus.publisher()
    yield publisher
    await publisher.connection.close()


@asynccontextmanager
async def following(
    bus: NatsServer, publisher: Publisher, client_of: ClientOf, current: ConfigObject, **arguments: Any
) -> AsyncIterator[Scene]:
    """A client that has settled on the bus."""
    hub = OneConfig(current)
    async with scripted_server(hub) as http, publisher.bookmarks_of(hub):
        client = client_of(http.url, nats_url=bus.client_url, **arguments)
        await client.init_async()
        await bus.wait_for_listener()
        yield Scene(hub, http, bus, publisher, client)
        await client.shutdown()


@pytest.fixture
async def scene(bus: NatsServer, publisher: Publisher, client_of: ClientOf) -> AsyncIterator[Scene]:
    async with following(bus, publisher, client_of, config_object(7, {"n": 7})) as scene:
        yield scene


async def test_an_update_is_applied_as_it_was_pushed(scene: Scene) -> None:
    before = scene.fetches
    await scene.present(8, {"n": 8}, previous_revision=7)
    took = await until(lambda: scene.client.get_value("n") == 8)
    print(f"over NATS: {took * 1000:.0f} ms")
    assert scene.fetches == before
    assert (scene.client.status.source, scene.client.status.stale) == (Source.HUB, False)
    assert scene.http.asked("config/watch") == []


async def test_a_deletion_over_the_bus_leaves_the_safe_defaults(scene: Scene) -> None:
    await scene.present(8, None, previous_revision=7, deleted=True, hash=content_hash(None))  # type: ignore[arg-type]
    await until(lambda: scene.client.get_value("n") is None)
    assert scene.client.get_value("batch_size") == 10


async def test_a_lost_message_shows_in_the_next_one_and_is_fetched(scene: Scene) -> None:
    scene.hub.current = config_object(12, {"n": 12}, previous_revision=9)
    await scene.publisher.announce(scene.hub)
    await until(lambda: scene.client.get_value("n") == 12)
    assert scene.http.asked(f"config/{SERVICE}")[-1].headers["x-hub-min-revision"] == "1.12"


async def test_when_every_message_is_lost_the_bookmarks_tell(scene: Scene) -> None:
    scene.hub.current = config_object(8, {"n": 8})
    took = await until(lambda: scene.client.get_value("n") == 8)
    print(f"with every message lost: {took:.1f} s")
    assert took < 3


async def test_a_message_without_its_configuration_is_fetched(scene: Scene) -> None:
    scene.hub.current = config_object(8, {"n": 8}, previous_revision=7)
    payload = json.dumps(replace(scene.hub.current, is_hint=True).to_json()).encode()
    await scene.publisher.send(payload, scene.hub.signed(payload))
    await until(lambda: scene.client.get_value("n") == 8)


async def test_duplicates_and_yesterday_s_messages_change_nothing_and_ask_nothing(scene: Scene) -> None:
    for revision in (8, 9):
        await scene.present(revision, {"n": revision})
    await until(lambda: scene.client.get_value("n") == 9)
    before = scene.fetches
    for revision in (9, 8, 7, 9, 5):
        payload = json.dumps(config_object(revision, {"n": revision}).to_json()).encode()
        await scene.publisher.send(payload, scene.hub.signed(payload))
    await asyncio.sleep(0.8)
    assert (scene.client.get_value("n"), scene.fetches) == (9, before)


FORGERIES: dict[str, dict[str, Any]] = {
    "a high revision": {"revision": 10**9},
    "the next revision": {},
    "a new epoch": {"epoch": 9},
    "an old epoch": {"epoch": 0},
    "another hub": {"hub_id": "hub-two"},
    "another service": {"service": "billing"},
    "another environment": {"environment": "staging"},
    "a wrong hash": {"hash": "sha256:" + "0" * 64},
    "requires": {"requires": ["x"]},
    "a deletion": {"config": None, "deleted": True, "hash": content_hash(None)},
}


def forged(**changes: Any) -> bytes:
    return json.dumps(config_object(8, {"n": 666}, previous_revision=7).to_json() | changes).encode()


@pytest.mark.parametrize("changes", FORGERIES.values(), ids=FORGERIES.keys())
@pytest.mark.parametrize("signature", ["none", "of another key", "of another message"])
async def test_what_no_trusted_key_signed_is_never_applied(
    scene: Scene, changes: dict[str, Any], signature: str
) -> None:
    payload = forged(**changes)
    stranger = OneConfig(scene.hub.current)
    headers = {
        "none": None,
        "of another key": stranger.signed(payload),
        "of another message": scene.hub.signed(b"something else"),
    }[signature]
    before = scene.fetches
    await scene.publisher.send(payload, headers)
    await until(lambda: scene.fetches > before)  # it was a reason to ask, and the hub says that nothing is new
    assert scene.client.get_value("n") == 7
    assert scene.client.status.revision == 7


@pytest.mark.parametrize("changes", [*list(FORGERIES.values())[2:9]], ids=list(FORGERIES)[2:9])
async def test_what_is_signed_but_does_not_fit_is_never_applied(scene: Scene, changes: dict[str, Any]) -> None:
    payload = forged(**changes)
    await scene.publisher.send(payload, scene.hub.signed(payload))
    await asyncio.sleep(0.6)
    assert (scene.client.get_value("n"), scene.client.status.revision) == (7, 7)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"null", b"[" * 10_000, b"\xff\xfe", b'{"service": 1}', b"x" * 7_000_000]
)
async def test_nonsense_is_survived_signed_or_not(scene: Scene, payload: bytes) -> None:
    for subject in (None, BOOKMARK_SUBJECT):
        await scene.publisher.send(payload, None, subject=subject)
        await scene.publisher.send(payload, scene.hub.signed(payload), subject=subject)
    await scene.present(8, {"n": 8}, previous_revision=7)
    await until(lambda: scene.client.get_value("n") == 8)


async def test_a_flood_of_lies_costs_a_few_questions_and_the_truth_still_gets_through(scene: Scene) -> None:
    before = scene.fetches
    flood = 3000
    for _ in range(flood):
        await scene.publisher.connection.publish(f"config.update.{SERVICE}", forged(), headers={"Hub-Signature": "x"})
    await scene.publisher.connection.flush()
    await asyncio.sleep(2)
    asked = scene.fetches - before
    print(f"{flood} forged messages in a row: {asked} questions")
    assert 1 <= asked <= 4
    await scene.present(8, {"n": 8}, previous_revision=7)
    await until(lambda: scene.client.get_value("n") == 8)


async def test_under_a_lasting_flood_of_lies_on_every_subject_questions_come_at_the_back_off_s_pace(
    scene: Scene,
) -> None:
    before = scene.fetches
    stranger = OneConfig(config_object(10**9, {"n": 666}))
    lies = [forged(**changes) for changes in FORGERIES.values()]
    bookmarks = [json.dumps(lie.to_json()).encode() for lie in (stranger.bookmark, replace(stranger.bookmark, epoch=9))]
    until_then = time.monotonic() + 8
    told = 0
    while time.monotonic() < until_then:
        for subject, payloads in ((f"config.update.{SERVICE}", lies), (BOOKMARK_SUBJECT, bookmarks)):
            for payload in payloads:
                await scene.publisher.connection.publish(subject, payload, headers=stranger.signed(payload))
                told += 1
        await scene.publisher.connection.flush()
        await asyncio.sleep(0.02)
        assert (scene.client.get_value("n"), scene.client.status.epoch) == (7, 1)
    asked = [request.at for request in scene.http.asked(f"config/{SERVICE}")[before:]]
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    print(f"{told} lies in 8 s: {len(asked)} questions, {', '.join(f'{pause:.1f}' for pause in pauses)} s apart")
    # Waits double from one second, and half of each is certain: 0, 0.5, 1.5, 3.5, 7.5. Where so much is dropped
    # that the hub's own bookmarks are among them, a stream takes over, and a question goes with it.
    assert 1 <= len(asked) <= 5 + len(scene.http.asked("config/watch"))
    await scene.present(8, {"n": 8}, previous_revision=7)
    await until(lambda: scene.client.get_value("n") == 8)


async def test_messages_of_sixty_megabytes_change_nothing_and_ask_once(scene: Scene) -> None:
    before = scene.fetches
    whole = json.dumps(config_object(8, {"n": 666, "fill": "x" * 60_000_000}, previous_revision=7).to_json()).encode()
    for headers in (None, scene.hub.signed(whole)):
        await scene.publisher.send(whole, headers)
    await until(lambda: scene.fetches > before, within=30)
    assert (scene.client.get_value("n"), scene.client.status.revision) == (7, 7)
    await scene.present(8, {"n": 8}, previous_revision=7)
    await until(lambda: scene.client.get_value("n") == 8, within=30)
    assert scene.fetches - before <= 3


async def test_a_message_that_does_not_fit_keeps_no_later_one_from_being_applied(scene: Scene) -> None:
    for changes in FORGERIES.values():
        payload = forged(**changes) if changes else b"{"
        await scene.publisher.send(payload, OneConfig(scene.hub.current).signed(payload))
    await scene.present(8, {"n": 8}, previous_revision=7)
    await until(lambda: scene.client.get_value("n") == 8)
    assert scene.client.status.error is None


async def test_the_base_environment_s_message_is_a_hint_to_those_that_inherit_from_it(
    bus: NatsServer, publisher: Publisher, client_of: ClientOf
) -> None:
    current = config_object(7, {"n": 7}, environment="staging")
    async with following(bus, publisher, client_of, current, environment="staging") as scene:
        scene.hub.current = config_object(8, {"n": 8}, environment="staging")
        base = OneConfig(config_object(8, {"n": 666}))
        base.key = scene.hub.key
        await scene.publisher.announce(base)
        await until(lambda: scene.client.get_value("n") == 8)
        scene.hub.current = config_object(9, {"n": 9}, environment="staging", previous_revision=8)
        before = scene.fetches
        await scene.publisher.announce(scene.hub)
        await until(lambda: scene.client.get_value("n") == 9)
        assert scene.fetches == before


async def test_a_new_epoch_heard_on_the_bus_is_asked_for(scene: Scene) -> None:
    scene.hub.current = config_object(3, {"n": 3}, epoch=2, previous_revision=None)
    await scene.publisher.announce(scene.hub)
    await until(lambda: scene.client.get_value("n") == 3)
    assert scene.client.status.epoch == 2
    await scene.present(4, {"n": 4}, epoch=2, previous_revision=3)
    await until(lambda: scene.client.get_value("n") == 4)


async def test_a_new_replica_s_key_is_learnt_from_the_hub(scene: Scene) -> None:
    scene.hub.key = Ed25519PrivateKey.generate()
    await scene.present(8, {"n": 8}, previous_revision=7)
    await until(lambda: scene.client.get_value("n") == 8)
    before = scene.fetches
    await asyncio.sleep(2)  # by now a bookmark, which nobody could believe, has made the client ask for the keys
    await scene.present(9, {"n": 9}, previous_revision=8)
    await until(lambda: scene.client.get_value("n") == 9)
    assert scene.fetches - before <= 2


async def test_when_the_bus_dies_events_take_over_and_when_it_is_back_they_end(scene: Scene) -> None:
    await scene.bus.kill()
    scene.hub.current = config_object(8, {"n": 8})
    took = await until(lambda: scene.client.get_value("n") == 8)
    print(f"after the death of the bus: {took:.1f} s")
    assert took < 3
    await until(lambda: len(scene.http.asked("config/watch")) >= 1)
    await scene.bus.start()
    await scene.bus.wait_for_listener()
    await asyncio.sleep(1)
    before = scene.fetches
    await scene.present(9, {"n": 9}, previous_revision=8)
    await until(lambda: scene.client.get_value("n") == 9)
    assert scene.fetches - before <= 1


async def test_a_bus_on_which_no_hub_is_heard_is_no_substitute_for_events(bus: NatsServer, client_of: ClientOf) -> None:
    hub = OneConfig(config_object(7, {"n": 7}))
    async with scripted_server(hub) as http:
        client = client_of(http.url, nats_url=bus.client_url)
        await client.init_async()
        took = await until(lambda: len(http.asked("config/watch")) == 1)
        assert 4.5 < took < 6.5
        hub.current = config_object(8, {"n": 8})
        await until(lambda: client.get_value("n") == 8)


async def test_a_bus_that_is_not_there_makes_no_difference(client_of: ClientOf) -> None:
    hub = OneConfig(config_object(7, {"n": 7}))
    async with scripted_server(hub) as http:
        client = client_of(http.url, nats_url="nats://127.0.0.1:1,nats://127.0.0.1:2")
        await client.init_async()
        await until(lambda: len(http.asked("config/watch")) == 1, within=2)


async def test_a_client_ends_at_whatever_moment_it_is_told_to(
    bus: NatsServer, publisher: Publisher, client_of: ClientOf
) -> None:
    hub = OneConfig(config_object(7))
    async with scripted_server(hub) as http, publisher.bookmarks_of(hub, every=0.01):
        for moment in range(50):
            client = client_of(http.url, nats_url=bus.client_url, cache_dir="/proc/nowhere")
            await client.init_async()
            await asyncio.sleep(0.0002 * moment)
            async with asyncio.timeout(4):
                await client.shutdown()


async def test_one_of_several_servers_is_enough(bus: NatsServer, publisher: Publisher, client_of: ClientOf) -> None:
    hub = OneConfig(config_object(7, {"n": 7}))
    async with scripted_server(hub) as http, publisher.bookmarks_of(hub):
        client = client_of(http.url, nats_url=f"nats://127.0.0.1:1,{bus.client_url}")
        await client.init_async()
        hub.has_events = False
        await asyncio.sleep(0.5)
        hub.current = config_object(8, {"n": 8}, previous_revision=7)
        await publisher.announce(hub)
        await until(lambda: client.get_value("n") == 8)


async def test_with_pinned_keys_a_new_instance_starts_with_the_hub_dead(
    bus: NatsServer, publisher: Publisher, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = OneConfig(config_object(7, {"n": 7}))
    await publisher.make_stream()
    await publisher.announce(hub)
    monkeypatch.setenv("CENTRAL_HUB_TRUSTED_KEYS", hub.public_key)
    client = client_of("http://127.0.0.1:1", nats_url=bus.client_url)
    await client.init_async()
    assert (client.get_value("n"), client.status.source, client.status.stale) == (7, Source.STREAM, True)
    assert client.status.error_code == "unreachable"
    hub.current = config_object(8, {"n": 8}, previous_revision=7)
    await publisher.announce(hub)
    await until(lambda: client.get_value("n") == 8)
    await client.shutdown()
    monkeypatch.delenv("CENTRAL_HUB_TRUSTED_KEYS")
    client = client_of("http://127.0.0.1:1")
    await client.init_async()
    assert (client.get_value("n"), client.status.source) == (8, Source.LAST_KNOWN_GOOD)


async def test_without_keys_the_stream_is_not_believed(
    bus: NatsServer, publisher: Publisher, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CENTRAL_HUB_TRUSTED_KEYS", raising=False)
    await publisher.make_stream()
    await publisher.announce(OneConfig(config_object(7, {"n": 7})))
    client = client_of("http://127.0.0.1:1", nats_url=bus.client_url)
    await client.init_async()
    assert (client.get_value("n"), client.status.source) == (None, Source.DEFAULTS)


async def test_keys_learnt_from_the_hub_are_remembered_for_a_start_without_it(
    bus: NatsServer, publisher: Publisher, client_of: ClientOf, tmp_path: Path
) -> None:
    await publisher.make_stream()
    hub = OneConfig(config_object(7, {"n": 7}))
    async with scripted_server(hub) as http:
        client = client_of(http.url, nats_url=bus.client_url)
        async with client:
            await until(lambda: len(http.asked("keys")) > 0)
            await until(lambda: bool(list(tmp_path.rglob("keys.json"))))
    hub.current = config_object(9, {"n": 9}, previous_revision=8)
    await publisher.announce(hub)
    client = client_of(http.url, nats_url=bus.client_url)
    await client.init_async()
    await until(lambda: client.get_value("n") == 9)
    assert client.status.source is Source.STREAM


async def test_an_empty_or_missing_stream_ends_the_start_at_once(
    bus: NatsServer, publisher: Publisher, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CENTRAL_HUB_TRUSTED_KEYS", OneConfig(config_object(1)).public_key)
    for _ in range(2):
        client = client_of("http://127.0.0.1:1", nats_url=bus.client_url)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await client.init_async()
        print(f"a start without a hub and without a message took {loop.time() - started:.2f} s")
        assert client.status.source is Source.DEFAULTS
        await publisher.make_stream()


async def test_a_wrong_password_of_the_bus_is_in_no_log_line(
    bus: NatsServer, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    hub = OneConfig(config_object(7, {"n": 7}))
    with caplog.at_level("DEBUG"):
        async with scripted_server(hub) as http:
            client = client_of(http.url, nats_url=f"nats://client:swordfish@127.0.0.1:{bus.port}")
            await client.init_async()
            await until(lambda: "the bus was lost" in caplog.text)
            await client.shutdown()
    assert "swordfish" not in caplog.text
