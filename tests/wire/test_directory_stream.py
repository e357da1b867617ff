"""A directory on the hub's stream of instances, and on streams that lie, hang, end or are none."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from central_hub_client import ServiceDirectory, directory_feed, directory_stream, hub_api
from tests.conftest import RunningHub
from tests.integration.instances import beat, instance_path, let_time_pass, register
from tests.wire import bad_hubs
from tests.wire.scripted_server import Exchange, ScriptedServer, scripted_server
from tests.wire.test_service_directory import SERVICE, FakeList, called, healthy, listed
from tests.wire.waiting import until

Handler = Callable[[Exchange], Awaitable[None]]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("URL", "TOKEN", "ENVIRONMENT"):
        monkeypatch.delenv(f"CENTRAL_HUB_{name}", raising=False)
    monkeypatch.setenv("CENTRAL_HUB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "_directory" / "default"


@pytest.fixture
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first question nothing is asked: what is heard was told by the stream."""
    monkeypatch.setattr(directory_feed, "POLL_SECONDS", 600.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_feed, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(directory_stream, "GATHER_SECONDS", 0.05)


def streams(directory: ServiceDirectory, service: str = SERVICE) -> bool:
    """Whether the stream carries the list."""
    feed = directory._feed
    return feed is not None and any(each.carried.is_set() for each in feed._followed if each.held.service == service)


def event(name: str, **told: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(told)}\n\n".encode()


def everything(*instances: dict[str, Any]) -> bytes:
    return event("instances", service=SERVICE, environment="default", instances=list(instances), kept=0, stale=False)


BOOKMARK = event("bookmark", as_of="2026-11-24T16:46:35.120Z", stale=False)


class FakeStream:
    """A scripted hub: a list to ask for, and what it sends to whoever follows the stream."""

    def __init__(self, *instances: dict[str, Any]) -> None:
        self.listed = FakeList(*instances)
        self.opened = 0
        self._parts: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, *events: bytes) -> None:
        self._parts.put_nowait(b"".join(events))

    async def __call__(self, exchange: Exchange) -> None:
        if not exchange.request.target.startswith("/api/v1/discovery/watch"):
            await self.listed(exchange)
            return
        self.opened += 1
        await exchange.open_stream()
        while part := await self._parts.get():
            await exchange.send(part)
        exchange.writer.close()


@asynccontextmanager
async def on(handler: Handler) -> AsyncIterator[tuple[ScriptedServer, ServiceDirectory]]:
    async with scripted_server(handler) as server, ServiceDirectory(SERVICE, central_hub_url=server.url) as directory:
        yield server, directory


async def test_an_instance_that_drains_or_leaves_is_out_of_the_picks_at_once(
    hub: RunningHub, service_name: str, no_poll: None
) -> None:
    second = f"{service_name}-2"
    made = {name: await register(hub.http, service_name, name) for name in ("a", "b", "c")}
    for each in made.values():
        await beat(hub.http, each)
    await healthy(hub, second, "x")
    async with ServiceDirectory(service_name, second, central_hub_url=hub.url, token=hub.token) as directory:
        await until(lambda: streams(directory, service_name) and streams(directory, second))
        lags = []
        await beat(hub.http, made["a"], state="draining")
        lags.append(await until(lambda: "a" not in called(directory, service_name)))
        await hub.http.delete(instance_path(service_name, "b"))
        lags.append(await until(lambda: "b" not in called(directory, service_name)))
        await healthy(hub, second, "y")
        lags.append(await until(lambda: "y" in called(directory, second)))
        assert sorted(lags)[1] < 1.0, lags
        assert set(called(directory, service_name)) == {"c"}
        assert not directory.status(service_name).stale


async def test_a_killed_instance_is_out_of_the_picks_once_its_lease_has_run_out(
    hub: RunningHub, service_name: str, no_poll: None
) -> None:
    await healthy(hub, service_name, "dead", lease_seconds=30)
    await let_time_pass(hub, service_name, 25)
    for number in range(5):
        await healthy(hub, service_name, f"alive-{number}", lease_seconds=300)
    async with ServiceDirectory(service_name, central_hub_url=hub.url, token=hub.token) as directory:
        await until(lambda: streams(directory, service_name))
        assert "dead" in called(directory, service_name)
        await until(lambda: "dead" not in called(directory, service_name))
        states = {found.instance_id: found.state for found in directory.instances(service_name)}
        assert states.pop("dead") == "expired"
        assert set(states.values()) == {"healthy"}


async def test_a_service_that_is_followed_later_joins_the_stream(
    hub: RunningHub, service_name: str, no_poll: None
) -> None:
    await healthy(hub, service_name, "one")
    second = f"{service_name}-2"
    async with ServiceDirectory(service_name, central_hub_url=hub.url, token=hub.token) as directory:
        await until(lambda: streams(directory, service_name))
        directory.follow(second)
        await until(lambda: streams(directory, second))
        await healthy(hub, second, "late")
        await until(lambda: "late" in {found.instance_id for found in directory.instances(second)})
        assert streams(directory, service_name)


async def test_a_service_that_the_token_does_not_cover_leaves_the_others_their_stream(
    hub: RunningHub, service_name: str, quick: None
) -> None:
    await healthy(hub, service_name, "one")
    token = await hub.new_token(services=[service_name])
    async with ServiceDirectory(service_name, "secret", central_hub_url=hub.url, token=token) as directory:
        await until(lambda: streams(directory, service_name))
        assert directory.status("secret").error_code == "forbidden"
        assert not streams(directory, "secret")


async def test_when_the_hub_dies_nothing_is_taken_away_and_its_return_is_noticed(quick: None) -> None:
    hub = FakeStream(listed("a"), listed("b"))
    async with on(hub) as (server, directory):
        hub.send(everything(listed("a"), listed("b")), BOOKMARK)
        await until(lambda: streams(directory))
        server.handler = bad_hubs.answering("503 Service Unavailable")
        hub.send(b"")
        await until(lambda: directory.status(SERVICE).error_code == "unavailable")
        assert not streams(directory)
        assert set(called(directory)) == {"a", "b"}
        # Back, and nobody could reach it meanwhile: it is not believed at once that there is nobody to call.
        hub.listed.instances = []
        server.handler = hub
        hub.send(everything(listed("a", "expired"), listed("b", "expired")), BOOKMARK)
        await until(lambda: streams(directory))
        assert directory.status(SERVICE).is_kept
        assert set(called(directory)) == {"a", "b"}
        hub.send(event("instance", **listed("a", "draining")), BOOKMARK)
        await until(lambda: set(called(directory)) == {"b"})
        assert directory.status(SERVICE).is_kept
        hub.send(event("instance", **listed("c")), BOOKMARK)
        await until(lambda: set(called(directory)) == {"c"})
        assert not directory.status(SERVICE).is_kept


async def test_changes_count_together_when_their_bookmark_comes(no_poll: None) -> None:
    hub = FakeStream(listed("a"))
    async with on(hub) as (_, directory):
        hub.send(everything(listed("a")), BOOKMARK)
        await until(lambda: streams(directory))
        gone = event("gone", service=SERVICE, environment="default", instance_id="a")
        hub.send(gone, event("instance", **listed("b", kept=True)))
        hub.send(event("news", of="a later hub"), b": a comment\n\n")
        hub.send(BOOKMARK)
        await until(lambda: set(called(directory)) == {"b"})
        assert [found.kept for found in directory.instances(SERVICE)] == [True]


async def test_what_nobody_asked_for_is_not_taken(no_poll: None) -> None:
    hub = FakeStream(listed("a"))
    async with on(hub) as (_, directory):
        lies = [
            event("instances", service="other", environment="default", instances=[]),
            event("instances", service=SERVICE, environment="staging", instances=[]),
            event("instance", **listed("b") | {"environment": "staging"}),
            event("gone", service="other", environment="default", instance_id="a"),
            event("gone", service=SERVICE, environment="default", instance_id="nobody"),
        ]
        hub.send(*lies, BOOKMARK)
        hub.send(everything(listed("a")), *lies, BOOKMARK)
        await until(lambda: streams(directory))
        assert set(called(directory)) == {"a"}


@pytest.mark.parametrize(
    "part",
    [
        b"event: instances\ndata: [1]\n\n",
        b"event: instances\ndata: {\n\n",
        event("instances", service=SERVICE, environment="default"),
        event("instances", service=SERVICE, environment="default", instances=[{"instance_id": "a"}]),
        event("instance", service=SERVICE),
        event("gone", service=SERVICE, environment=7, instance_id="a"),
        everything(listed("b")) + b"event: instance\ndata: " + b"x" * 3000 + b"\n\n",
        everything(*(listed(f"i{number}") for number in range(20))) + BOOKMARK,
        b"\xff\xfe\x00",
        b"",
    ],
)
async def test_a_stream_that_cannot_be_read_takes_nothing_away_and_asking_goes_on(
    part: bytes, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_api, "MAX_LIST_BYTES", 2000)
    monkeypatch.setattr(directory_stream, "MAX_INSTANCES", 10)
    hub = FakeStream(listed("a"))
    async with on(hub) as (_, directory):
        for _ in range(20):
            hub.send(part)
            hub.send(b"")
        await until(lambda: hub.opened > 1)
        assert set(called(directory)) == {"a"}
        hub.listed.instances = [listed("c")]
        await until(lambda: set(called(directory)) == {"c"})
        assert directory.status(SERVICE).error is None


@pytest.mark.parametrize("answer", ["404 Not Found", "405 Method Not Allowed", "422 Unprocessable Content"])
async def test_a_hub_without_the_stream_is_asked_as_before(answer: str, quick: None) -> None:
    lists = FakeList(listed("a"))
    without = bad_hubs.answering(answer)

    async def older(exchange: Exchange) -> None:
        await (without if "/watch" in exchange.request.target else lists)(exchange)

    async with on(older) as (server, directory):
        await until(lambda: len(server.asked("discovery/watch")) == 1)
        lists.instances = [listed("b")]
        await until(lambda: set(called(directory)) == {"b"})
        asked = len(server.asked("discovery/billing"))
        await until(lambda: len(server.asked("discovery/billing")) > asked + 5)
        assert len(server.asked("discovery/watch")) == 1


@pytest.mark.parametrize("stream", ["hangs", "is silent", "never bookmarks"])
async def test_a_stream_without_bookmarks_is_given_up(
    stream: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_api, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(directory_stream, "SILENCE_SECONDS", 0.5)
    lists = FakeList(listed("a"))
    opened = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal opened
        if "/watch" not in exchange.request.target:
            await lists(exchange)
            return
        opened += 1
        if stream == "hangs" and opened > 1:
            await bad_hubs.hang(exchange)
        await exchange.open_stream()
        await exchange.send(everything(listed("a")) + BOOKMARK)
        while stream == "never bookmarks":
            await exchange.send(event("instance", **listed("z")))
            await asyncio.sleep(0.05)
        await bad_hubs.hang(exchange)

    async with on(handler) as (_, directory):
        await until(lambda: streams(directory))
        lists.instances = [listed("c")]
        await until(lambda: set(called(directory)) == {"c"})
        await until(lambda: opened > 1)


async def test_a_list_that_changes_all_the_time_is_written_now_and_then(
    cache: Path, no_poll: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_feed, "REMEMBER_SECONDS", 0.5)
    hub = FakeStream(listed("a"))
    async with on(hub) as (_, directory):
        hub.send(everything(listed("a")), BOOKMARK)
        await until(lambda: streams(directory))
        file = cache / f"{SERVICE}.json"
        written = set()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(100):
            hub.send(event("instance", **listed(f"i{number}")), BOOKMARK)
            await asyncio.sleep(0.01)
            written.add(file.stat().st_ino)
        assert len(written) <= (loop.time() - began) / 0.5 + 2
        await until(lambda: '"i99"' in file.read_text())
