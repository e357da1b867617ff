"""A thousand updates at once: the last counts, nobody is told of all the others, and no memory fills with them."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from central_hub_client import ConfigChange, ConfigClient, ConfigManager, SettingsChange
from central_hub_client.wire import ConfigObject
from tests.unit.client.objects import SERVICE, bookmark, config_object
from tests.wire.nats_server import NatsServer
from tests.wire.one_config import OneConfig
from tests.wire.scripted_server import Exchange, scripted_server
from tests.wire.waiting import until

UPDATES = 1000
# What is held, what lies on disk, what is being read, what a listener has not seen yet: a few, however long the storm.
MOST_OBJECTS = 40


class Storm(OneConfig):
    """Sends a thousand events in one breath once it is let loose."""

    def __init__(self) -> None:
        super().__init__(config_object(1, {"n": 1}))
        self.breaks_loose = asyncio.Event()
        events = (config_object(n, {"n": n, "fill": "x" * 500}).to_json() for n in range(2, UPDATES + 2))
        self._events = b"".join(b"event: config\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events)

    async def _stream(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        await exchange.send_event(bookmark(1))
        await self.breaks_loose.wait()
        self.current = config_object(UPDATES + 1, {"n": UPDATES + 1, "fill": "x" * 500})
        await exchange.send(self._events)
        while True:
            await exchange.send_event(self.bookmark)
            await asyncio.sleep(0.5)


@asynccontextmanager
async def counted() -> AsyncIterator[list[int]]:
    """How many config objects are alive, looked at again and again while the block runs."""
    counts: list[int] = []

    def alive() -> int:
        return sum(type(found) is ConfigObject for found in gc.get_objects())

    async def count() -> None:
        while True:
            counts.append(alive() - before)
            await asyncio.sleep(0.02)

    gc.collect()
    before = alive()
    counting = asyncio.create_task(count())
    try:
        yield counts
    finally:
        counting.cancel()
        counts.append(alive() - before)


async def test_of_a_thousand_events_at_once_a_client_ends_with_the_last(client_of: Callable[..., ConfigClient]) -> None:
    hub = Storm()
    async with scripted_server(hub) as server:
        client = client_of(server.url)
        await client.init_async()
        await until(lambda: len(server.asked("config/watch")) == 1)
        heard: list[int] = []

        async def hang(change: ConfigChange) -> None:
            await asyncio.sleep(3600)

        async def slow(change: ConfigChange) -> None:
            heard.append(change.new["n"])
            await asyncio.sleep(0.05)

        client.on_config_update(hang)
        client.on_config_update(slow)
        async with counted() as counts:
            hub.breaks_loose.set()
            took = await until(lambda: client.get_value("n") == UPDATES + 1, within=60)
            await until(lambda: heard[-1:] == [UPDATES + 1])
        print(f"{UPDATES} events in {took:.1f} s, {len(heard)} told, {max(counts)} in memory at most")
        assert heard == sorted(set(heard))
        assert len(heard) < UPDATES / 2
        assert max(counts) < MOST_OBJECTS


async def test_of_a_thousand_events_at_once_a_manager_tells_a_busy_callback_the_last(tmp_path: Path) -> None:
    hub = Storm()
    async with scripted_server(hub) as server:
        manager = ConfigManager(SERVICE, central_hub_url=server.url, cache_dir=tmp_path, config_dir=None)
        async with manager:
            await until(lambda: len(server.asked("config/watch")) == 1)
            told: list[tuple[Any, Any]] = []
            go_on = Event()

            def busy(change: SettingsChange[Any]) -> None:
                told.append((change.old["n"], change.new["n"]))
                go_on.wait(60)

            manager.on_config_update(busy)
            async with counted() as counts:
                hub.breaks_loose.set()
                await until(lambda: manager.get("n") == UPDATES + 1, within=60)
                go_on.set()
                await until(lambda: told[-1][1] == UPDATES + 1)
            assert len(told) <= 2
            assert told[0][0] == 1
            assert max(counts) < MOST_OBJECTS
            await until(lambda: manager.status.revision == UPDATES + 1)


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


async def test_of_a_thousand_large_messages_at_once_those_that_find_no_room_are_not_missed(
    bus: NatsServer, client_of: Callable[..., ConfigClient]
) -> None:
    publisher = await bus.publisher()
    hub = OneConfig(config_object(1, {"n": 1}))
    async with scripted_server(hub) as server, publisher.bookmarks_of(hub):
        client = client_of(server.url, nats_url=bus.client_url)
        await client.init_async()
        await bus.wait_for_listener()
        before = len(server.asked(f"config/{SERVICE}"))
        async with counted() as counts:
            started = time.monotonic()
            for n in range(2, UPDATES + 2):
                hub.current = config_object(n, {"n": n, "fill": "x" * 20_000})
                payload = json.dumps(hub.current.to_json()).encode()
                await publisher.connection.publish(f"config.update.{SERVICE}", payload, headers=hub.signed(payload))
            await publisher.connection.flush()
            sent = time.monotonic() - started
            took = await until(lambda: client.get_value("n") == UPDATES + 1, within=60)
        asked = len(server.asked(f"config/{SERVICE}")) - before
        print(f"{UPDATES} messages of 20 KB in {sent:.1f} s: the last {took:.1f} s later, after {asked} questions")
        assert asked < 30
        assert max(counts) < MOST_OBJECTS
        await client.shutdown()
    await publisher.connection.close()
