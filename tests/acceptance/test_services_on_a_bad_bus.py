"""The same services over the bus (but the pilot, which does not ask it): each way of hearing makes up for the other."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from central_hub_client.wire import HUB_KEY_ID, HUB_SIGNATURE
from tests.acceptance.scene import BAD_HUBS, Scene, scene
from tests.faults.liar import a_liar
from tests.faults.test_lies import FORGERIES


@pytest.fixture(scope="module", name="scene")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("services"), with_bus=True) as it:
        yield it


async def test_while_the_bus_is_dead_changes_arrive_over_http(scene: Scene) -> None:
    await scene.fleet.nats.kill()
    await scene.changes_arrive()
    await scene.fleet.nats.start()
    await scene.changes_arrive()


async def test_with_hub_and_bus_dead_nobody_is_moved(scene: Scene) -> None:
    await scene.hub.kill()
    await scene.fleet.nats.kill()
    await scene.nobody_is_moved()
    await scene.hub.start()
    await scene.changes_arrive()
    await scene.fleet.nats.start()
    await scene.changes_arrive()


async def test_forgeries_garbage_and_a_flood_move_nobody(scene: Scene) -> None:
    rng = random.Random(20261124)
    signatures = [{}, {HUB_SIGNATURE: "AAAA"}, {HUB_KEY_ID: "0" * 16}, {HUB_SIGNATURE: "", HUB_KEY_ID: ""}]
    async with a_liar(scene.fleet.endpoints.nats_url, rng) as liar:
        await scene.changes_arrive()
        for service in scene.services.all:
            config = (service.name, "default")
            for changes in FORGERIES.values():
                for headers in signatures:
                    await liar.forge(config, changes, headers)
            for garbage in (b"", b"{", b"null", b"[" * 10_000, b"\xff\xfe", rng.randbytes(900_000)):
                await liar.say(config, garbage)
            for _ in range(300):
                await liar.forge(config, rng.choice(list(FORGERIES.values())), rng.choice(signatures))
        await scene.nobody_is_moved()
        await scene.changes_arrive()


async def test_while_the_hub_answers_nonsense_changes_arrive_over_the_bus(scene: Scene) -> None:
    on_the_bus = [service for service in scene.services.all if service.ask is not None]
    for answers in BAD_HUBS.values():
        scene.way.lead_to(answers)
        number = await scene.services.change()
        await asyncio.gather(*(service.says(number) for service in on_the_bus))
    scene.way.lead_to_the_hub()
    await scene.changes_arrive()
