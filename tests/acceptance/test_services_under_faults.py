"""The pilot, Flask under gunicorn, Celery and FastAPI go on with what they have, whatever happens, and take changes."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from central_hub_client.hub_api import SILENCE_SECONDS
from tests.acceptance.recipes import mount
from tests.acceptance.scene import BAD_HUBS, Scene, scene
from tests.acceptance.services import FAILURE, Service
from tests.integration.instances import Incarnation, beat, eventually
from tests.wire import bad_hubs
from tests.wire.scripted_server import Exchange
from tests.wire.waiting import until

DAY = 86_400.0


@pytest.fixture(scope="module", name="scene")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Services that hear of changes over HTTP alone."""
    async with scene(tmp_path_factory.mktemp("services"), with_bus=False) as it:
        yield it


async def test_a_hub_that_answers_nobody_with_sense_moves_nobody(scene: Scene) -> None:
    answers = itertools.cycle(BAD_HUBS.values())
    given = set()

    async def any_of_them(exchange: Exchange) -> None:
        answer = next(answers)
        given.add(answer)
        await answer(exchange)

    scene.way.lead_to(any_of_them)
    await scene.everybody_has_asked()
    await until(lambda: len(given) == len(BAD_HUBS), within=60)
    await scene.nobody_is_moved()
    number = await scene.services.change()
    scene.way.lead_to_the_hub()
    await scene.services.all_say(number)


@pytest.mark.soak
@pytest.mark.parametrize("answers", BAD_HUBS.values(), ids=BAD_HUBS)
async def test_a_hub_that_goes_bad_moves_nobody(scene: Scene, answers: bad_hubs.Handler) -> None:
    await asyncio.sleep(2 * SILENCE_SECONDS)  # streams that have lasted as long show that the hub was well
    scene.way.lead_to(answers)
    await scene.everybody_has_asked()
    await scene.nobody_is_moved()
    number = await scene.services.change()
    scene.way.lead_to_the_hub()
    await scene.services.all_say(number)


async def test_a_killed_hub_moves_nobody(scene: Scene) -> None:
    await scene.hub.kill()
    await scene.nobody_is_moved()
    await scene.hub.start()
    await scene.changes_arrive()


async def test_a_hub_whose_name_nobody_knows_moves_nobody(scene: Scene) -> None:
    if scene.around.holder is None:
        pytest.skip("a file of names for these processes alone needs root on Linux")
    scene.around.names_die()
    scene.way.lead_to_the_hub()  # cuts what is open: the next connection needs the name
    before = scene.way.connections
    number = scene.services.number
    later = await scene.services.change()
    await asyncio.sleep(1)
    await scene.services.all_say(number)
    assert scene.way.connections == before
    scene.around.names_live()
    await scene.services.all_say(later)


async def test_callbacks_that_fail_and_hang_have_kept_no_change_from_anybody(scene: Scene) -> None:
    await scene.changes_arrive()
    for service in scene.services.all:
        if service.ask is not None:  # the pilot's callbacks are its own, and good
            assert FAILURE in service.started.output()


async def test_a_full_disk_stops_no_change_and_is_written_to_when_there_is_room(scene: Scene) -> None:
    if scene.around.holder is None:
        pytest.skip("a disk of its own needs root on Linux")
    await scene.everybody_keeps(scene.services.number)
    filler = scene.around.cache / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    await scene.changes_arrive()
    await scene.changes_arrive()
    await asyncio.sleep(0.5)
    assert not any(scene.kept(service.revisions[scene.services.number]) for service in scene.services.all)
    filler.unlink()
    await scene.changes_arrive()
    await scene.everybody_keeps(scene.services.number)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 512):
            pass


async def test_of_many_changes_at_once_everybody_ends_with_the_last(scene: Scene) -> None:
    for _ in range(40):
        await scene.services.change()
    await scene.nobody_is_moved()


async def test_what_a_service_refuses_moves_nobody_and_is_told_and_the_next_change_arrives(scene: Scene) -> None:
    async def refused(service: Service) -> bool:
        told = (await scene.hub.http.get(f"/api/v1/config/status/{service.name}")).json()
        return sum(instance["state"] == "rejected" for instance in told["instances"]) >= service.workers

    for service in scene.services.all:
        await service.merge(service.invalid)
    for service in scene.services.all:
        await eventually(lambda each=service: refused(each), within=60)  # type: ignore[misc]
    await scene.nobody_is_moved()
    await scene.changes_arrive()


async def test_forged_heartbeats_change_nothing(scene: Scene) -> None:
    for service in scene.services.all:
        told = (await scene.hub.http.get(f"/api/v1/discovery/{service.name}")).json()["instances"]
        assert len(told) >= service.workers
        for instance in told:
            for generation in (instance["generation"], instance["generation"] + 1):
                forged = Incarnation(service.name, instance["instance_id"], generation, "guessed")
                answer = await beat(scene.hub.http, forged, state="draining", applied={"epoch": 9, "revision": 9})
                assert answer.status_code in (403, 404, 409)
    await scene.changes_arrive()


async def test_a_mounted_file_that_is_swapped_counts_where_the_hub_says_nothing(scene: Scene) -> None:
    with_files = [service for service in scene.services.all if service.ask is not None]  # the pilot reads none
    for service in with_files:
        mount(service.place.directory / "config", "1", {f"{service.name}.yaml": "operational: {batch_size: 901}"})
        await service.place.forget(service.name)
    await asyncio.gather(*(service.says(901) for service in with_files))
    for service in with_files:
        mount(service.place.directory / "config", "2", {f"{service.name}.yaml": "operational: {batch_size: 902}"})
    await asyncio.gather(*(service.says(902) for service in with_files))
    await scene.changes_arrive()


async def test_killed_with_the_hub_dead_and_their_newest_files_damaged_they_start_from_what_was_before(
    scene: Scene,
) -> None:
    before = await scene.services.change()
    await scene.services.all_say(before)
    await scene.everybody_keeps(before)
    await scene.changes_arrive()
    await scene.everybody_keeps(before + 1)
    scene.way.end()
    await asyncio.gather(*(service.kill() for service in scene.services.all))
    for service in scene.services.all:
        for number, path in enumerate(scene.kept(service.revisions[before + 1])):
            whole = bytearray(path.read_bytes())
            whole[(number * 97) % len(whole)] ^= 1 << number % 8
            path.write_bytes(whole)
        service.start()
    await scene.services.all_say(before)
    await scene.way.begin()
    await scene.nobody_is_moved()
    await scene.changes_arrive()


async def test_after_thirty_days_with_nobody_there_they_start_from_what_was_last_known(scene: Scene) -> None:
    await scene.changes_arrive()
    await scene.everybody_keeps(scene.services.number)
    ended = await asyncio.gather(*(service.end() for service in scene.services.all))
    assert ended == [0] * len(ended), [service.started.output()[-2000:] for service in scene.services.all]
    scene.way.end()
    then = time.time() - 30 * DAY
    for path in scene.around.cache.rglob("generation-*.json"):
        os.utime(path, (then, then))
    for service in scene.services.all:
        service.start()
    await scene.nobody_is_moved()
    await scene.way.begin()
    await scene.changes_arrive()
