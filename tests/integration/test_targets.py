"""Targets are probed by one replica, known to all, and stored; whatever a probe does, the others go on."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from central_hub.connections.health_probe import Probed
from central_hub.embedded import Endpoints
from central_hub.monitoring.infrastructure import Component
from central_hub.presence import AT_WORK_FOR
from central_hub.rendezvous import chosen
from central_hub.storage import targets as stored
from central_hub.storage.target_values import Target
from central_hub_client.wire import HealthState
from tests.conftest import DatabaseUrls, RunningHub, create_database
from tests.integration.instances import AGREED_WITHIN, eventually
from tests.integration.watched_targets import Watching, component, listening, state, truth

Start = Callable[..., Awaitable[RunningHub]]


async def rows(hub: RunningHub) -> dict[str, Target]:
    async with hub.service.connections.database.reading() as connection:
        found, _ = await stored.changed_since(connection, 0, is_known=lambda _name, _change: False)
    return {row.name: row for row in found}


@pytest.fixture
async def own(servers: Endpoints) -> DatabaseUrls:
    """A database for one test: the targets of a hub that is gone would be waited for."""
    return await create_database(servers)


async def test_an_outage_and_its_end_are_known_and_stored_with_their_history(
    own: DatabaseUrls, start_hub: Start
) -> None:
    hub, other = await start_hub(own), await start_hub(own)
    watching = Watching([hub, other])
    async with listening() as port:
        watching.be([component("db", port)])
        for each in (hub, other):
            await eventually(lambda each=each: truth(state(each, "db") == "healthy"))  # type: ignore[misc]
    for each in (hub, other):
        await eventually(lambda each=each: truth(state(each, "db") == "unhealthy"))  # type: ignore[misc]
        assert each.service.monitoring.targets["db"].reason == "the connection was refused"
    async with listening(port):
        for each in (hub, other):
            await eventually(lambda each=each: truth(state(each, "db") == "healthy"))  # type: ignore[misc]

        async def is_stored() -> bool:
            found = (await rows(hub)).get("db")
            return found is not None and found.state is HealthState.HEALTHY

        await eventually(is_stored)
    history = await other.service.monitoring.transitions("db", limit=10)
    states = [(str(each.from_state), str(each.to_state)) for each in reversed(history)]
    assert states[:4] == [
        ("starting", "healthy"),
        ("healthy", "degraded"),
        ("degraded", "unhealthy"),
        ("unhealthy", "healthy"),
    ]


async def test_each_target_is_probed_by_the_replica_that_all_agree_on(own: DatabaseUrls, start_hub: Start) -> None:
    hubs = [await start_hub(own), await start_hub(own)]
    both = {hub.service.monitoring.own_id for hub in hubs}
    watching = Watching(hubs)
    await eventually(lambda: truth(all(hub.service.monitoring._replicas == both for hub in hubs)))
    async with listening() as port:
        watching.be([component(f"t{number}", port) for number in range(20)])
        await eventually(lambda: truth(min(Counter(name for name, _ in watching.asked).values(), default=0) >= 3))
        await eventually(lambda: truth(len({name for name, _ in watching.asked}) == 20))
    for number in range(20):
        assert watching.askers(f"t{number}") == {chosen(f"t{number}", both)}
    assert {asker for _, asker in watching.asked} == both


async def test_the_targets_of_a_replica_that_was_killed_are_taken_over_within_thirty_seconds(
    own: DatabaseUrls, start_hub: Start
) -> None:
    survivor, dead = await start_hub(own), await start_hub(own)
    both = {hub.service.monitoring.own_id for hub in (survivor, dead)}
    watching = Watching([survivor, dead])
    await eventually(lambda: truth(survivor.service.monitoring._replicas == both))
    async with listening() as port:
        watching.be([component(f"t{number}", port, interval=10) for number in range(20)])
        await eventually(lambda: truth(len({name for name, _ in watching.asked}) == 20), within=20)
        for task in dead.service._tasks:  # as a process that was killed: it says goodbye to nobody
            task.cancel()
        await asyncio.gather(*dead.service._tasks, return_exceptions=True)
        killed = time.monotonic()
        watching.asked.clear()
        everything = {f"t{number}" for number in range(20)}
        mine = survivor.service.monitoring.own_id

        async def are_taken_over() -> bool:
            return {name for name, asker in watching.asked if asker == mine} == everything

        await eventually(are_taken_over, within=60)
        assert time.monotonic() - killed < 30
    assert timedelta(seconds=30) > AT_WORK_FOR


async def test_replicas_agree_on_a_state_within_two_seconds_most_of_the_time(
    own: DatabaseUrls, start_hub: Start
) -> None:
    """The median of several, so that one pause of a busy machine does not decide."""
    hubs = [await start_hub(own), await start_hub(own)]
    watching = Watching(hubs)
    lags = []
    async with listening() as port:
        for number in range(5):
            watching.be([component(f"t{number}", port)])
            await eventually(lambda number=number: truth(any(state(hub, f"t{number}") == "healthy" for hub in hubs)))  # type: ignore[misc]
            began = time.monotonic()
            await eventually(lambda number=number: truth(all(state(hub, f"t{number}") == "healthy" for hub in hubs)))  # type: ignore[misc]
            lags.append(time.monotonic() - began)
    assert sorted(lags)[2] < AGREED_WITHIN, lags


async def test_hundreds_that_hang_delay_no_other(own: DatabaseUrls, start_hub: Start) -> None:
    hub = await start_hub(own)
    watching = Watching([hub])
    asked: Counter[str] = Counter()

    async def ask(component: Component) -> Probed:
        asked[component.name] += 1
        if component.name.startswith("hangs"):
            await asyncio.sleep(3600)
        return Probed(True, None, 1.0)

    hub.service.monitoring.prober.ask = ask
    hanging = [component(f"hangs-{number}", 1, interval=1, timeout=2) for number in range(300)]
    watching.be([*hanging, component("well", 1, interval=0.2)])
    await eventually(lambda: truth(sum(name.startswith("hangs") for name in asked) == 300))
    before = asked["well"]
    await eventually(lambda: truth(asked["well"] >= before + 10))
    assert state(hub, "well") == "healthy"
    await eventually(lambda: truth(state(hub, "hangs-0") in ("degraded", "unhealthy")))
    assert hub.service.monitoring.targets["hangs-0"].reason == "no answer within 2 s"


async def test_a_probe_that_raises_or_does_not_end_when_it_is_told_to_is_asked_no_less(
    own: DatabaseUrls, start_hub: Start
) -> None:
    hub = await start_hub(own)
    watching = Watching([hub])
    asked: Counter[str] = Counter()
    end = asyncio.Event()

    async def ask(component: Component) -> Probed:
        asked[component.name] += 1
        if component.name == "raises":
            raise RuntimeError("password=hunter2")
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        return Probed(True)

    hub.service.monitoring.prober.ask = ask
    watching.be([component("raises", 1), component("stubborn", 1, timeout=0.1)])
    await eventually(lambda: truth(asked["raises"] >= 3))
    found = hub.service.monitoring.targets["raises"]
    assert (found.state, found.reason) == (
        "starting",
        "not measured: its probe failed with RuntimeError",
    )
    await eventually(lambda: truth(state(hub, "stubborn") == "unhealthy"))
    assert asked["stubborn"] == 1  # no more of them pile up
    end.set()
    await eventually(lambda: truth(state(hub, "stubborn") == "healthy"))


async def test_what_is_added_removed_and_changed_is_followed(own: DatabaseUrls, start_hub: Start) -> None:
    hub = await start_hub(own)
    watching = Watching([hub])
    told = []
    hub.service.monitoring.listen(lambda: told.append(set(hub.service.monitoring.targets)))
    async with listening() as port:
        watching.be([component("stays", port), component("goes", port), component("moves", port)])
        await eventually(lambda: truth({state(hub, name) for name in ("stays", "goes", "moves")} == {"healthy"}))

        async def are_stored(names: set[str]) -> bool:
            return set(await rows(hub)) == names

        await eventually(lambda: are_stored({"stays", "goes", "moves"}))
        watching.be([component("stays", port), component("moves", 1), component("comes", port)])
        assert set(hub.service.monitoring.targets) == {"stays", "moves", "comes"}
        assert told[-1] == {"stays", "moves", "comes"}
        await eventually(lambda: truth(state(hub, "comes") == "healthy" and state(hub, "moves") == "unhealthy"))
        await eventually(lambda: are_stored({"stays", "moves", "comes"}))
        watching.asked.clear()
        await eventually(lambda: truth(len(watching.asked) > 10))
        assert "goes" not in {name for name, _ in watching.asked}
    assert [str(each.to_state) for each in await hub.service.monitoring.transitions("goes", limit=5)] == ["healthy"]


async def test_of_two_replicas_that_both_probe_one_writes(own: DatabaseUrls, start_hub: Start) -> None:
    """During a takeover: what the slower one saw is dropped, so that the history never contradicts itself."""
    hubs = [await start_hub(own), await start_hub(own)]
    watching = Watching(hubs)
    for hub in hubs:
        hub.service.monitoring.share_with = lambda _: None  # type: ignore[method-assign]
        hub.service.monitoring._replicas = frozenset({hub.service.monitoring.own_id})
    async with listening() as port:
        watching.be([component("db", port)])
        await eventually(lambda: truth(len(watching.askers("db")) == 2))
        for _ in range(3):
            await asyncio.sleep(0.7)
    await eventually(lambda: truth(all(state(hub, "db") == "unhealthy" for hub in hubs)))
    async with listening(port):
        await eventually(lambda: truth(all(state(hub, "db") == "healthy" for hub in hubs)))
        for hub in hubs:
            await hub.service.monitoring.catch_up()
            await hub.service.monitoring.write()
    history = (await hubs[0].service.monitoring.transitions("db", limit=100))[::-1]
    assert history[0].from_state is HealthState.STARTING
    for before, after in pairwise(history):
        assert before.to_state is after.from_state


async def test_a_hub_that_starts_goes_on_from_what_is_stored(own: DatabaseUrls, start_hub: Start) -> None:
    first = await start_hub(own)
    watching = Watching([first])
    watching.be([component("db", 1)])
    await eventually(lambda: truth(state(first, "db") == "unhealthy"))
    since = first.service.monitoring.targets["db"].since
    await first.stop()
    second = await start_hub(own)
    Watching([second]).be([component("db", 1, interval=60)])
    await eventually(lambda: truth(state(second, "db") == "unhealthy"))
    assert second.service.monitoring.targets["db"].since == since


async def test_old_transitions_and_targets_that_nobody_probes_are_removed(own: DatabaseUrls, start_hub: Start) -> None:
    hub = await start_hub(own)
    async with listening() as port:
        Watching([hub]).be([component("db", port, interval=60)])
        await eventually(lambda: truth(state(hub, "db") == "healthy"))
        await hub.service.monitoring.write()
        row = next(iter((await rows(hub)).values()))
        database = hub.service.connections.database

        async def age(connection: object) -> None:
            await connection.execute(  # type: ignore[attr-defined]
                sa.text("INSERT INTO target_transitions SELECT 'old', now() - interval '91 days', 'a', 'b', NULL")
            )
            ghost = {**{name: getattr(row, name) for name in Target.__slots__}, "name": "ghost", "change": 1}
            ghost["probed_at"] -= timedelta(hours=2)
            await stored.write(connection, [Target(**ghost)], [])  # type: ignore[arg-type]

        await database.transaction(age)
        assert set(await rows(hub)) == {"db", "ghost"}
        await hub.service.monitoring.forget_old()
        assert set(await rows(hub)) == {"db"}
        assert await hub.service.monitoring.transitions("old", limit=1) == []
        assert len(await hub.service.monitoring.transitions("db", limit=9)) == 1


async def test_what_cannot_be_measured_expires(own: DatabaseUrls, start_hub: Start) -> None:
    hub = await start_hub(own)
    watching = Watching([hub])
    watching.unmeasured = {"db"}
    watching.be([component("db", 1)])
    await eventually(lambda: truth(len(watching.asked) >= 3))
    target = hub.service.monitoring.targets["db"]
    assert (target.state, target.reason) == (HealthState.STARTING, "not measured: no credential")
    hub.service.monitoring._targets._held["db"].moment -= 61
    await eventually(lambda: truth(state(hub, "db") == "expired"))
