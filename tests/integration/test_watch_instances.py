"""The fleet by server-sent events: the whole list, then every change, whoever learnt of it, and an end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest

from central_hub.api.instance_events import InstanceEvents
from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.instances import AGREED_WITHIN, PATIENCE, beat, instance_path, let_time_pass, listed, register
from tests.integration.test_config_documents import assert_problem
from tests.integration.test_watch import Events

Start = Callable[..., Awaitable[RunningHub]]


@asynccontextmanager
async def watching(http: httpx2.AsyncClient, *services: str, **params: Any) -> AsyncIterator[Events]:
    async with http.stream("GET", "/api/v1/discovery/watch", params={"service": services, **params}) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)


async def news(events: Events) -> tuple[str, dict[str, Any]]:
    """The next event that is no bookmark."""
    async with asyncio.timeout(PATIENCE):
        while True:
            event = await events.next()
            if event["event"] != "bookmark":
                return event["event"], event["data"]


async def part(events: Events) -> list[tuple[str, dict[str, Any]]]:
    """What is told up to the next bookmark."""
    found = []
    while (event := await events.next())["event"] != "bookmark":
        found.append((event["event"], event["data"]))
    return found


async def end_of(events: Events) -> None:
    with contextlib.suppress(EOFError):
        async with asyncio.timeout(PATIENCE):
            while True:
                await events.next()


@pytest.fixture
async def other(hub: RunningHub, database: DatabaseUrls, start_hub: Start) -> RunningHub:
    """A second replica on the module's database."""
    return await start_hub(database)


async def test_the_whole_list_comes_first_and_then_every_change(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name, zone="eu")
    async with watching(hub.http, service_name) as events:
        assert await part(events) == [
            (
                "instances",
                {
                    "service": service_name,
                    "environment": "default",
                    "instances": await listed(hub, service_name),
                    "kept": 0,
                    "stale": False,
                },
            )
        ]
        await beat(hub.http, made)
        assert await news(events) == ("instance", (await listed(hub, service_name))[0])
        await hub.http.put(instance_path(service_name), json={"weight": 7})
        name, told = await news(events)
        assert (name, told["weight"], told["state"]) == ("instance", 7, "healthy")
        await register(hub.http, service_name, "two")
        assert (await news(events))[1]["instance_id"] == "two"
        await register(hub.http, service_name)
        name, told = await news(events)
        assert (name, told["instance_id"], told["generation"]) == ("instance", "one", 2)
        await hub.http.delete(instance_path(service_name))
        gone = {"service": service_name, "environment": "default", "instance_id": "one", "generation": 2}
        assert await news(events) == ("gone", gone)


async def test_a_heartbeat_that_says_nothing_new_is_no_event(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    await beat(hub.http, made)
    async with watching(hub.http, service_name) as events:
        await part(events)
        for _ in range(3):
            await beat(hub.http, made)
            assert await part(events) == []


async def test_a_bookmark_says_of_when_it_is_and_comes_every_two_seconds(hub: RunningHub, service_name: str) -> None:
    async with watching(hub.http, service_name) as events:
        await part(events)
        gaps, as_of = [], ""
        for _ in range(3):
            started = time.monotonic()
            bookmark = await events.next()
            gaps.append(time.monotonic() - started)
            assert bookmark["event"] == "bookmark"
            assert bookmark["data"].keys() == {"as_of", "stale"}
            assert bookmark["data"]["stale"] is False
            assert bookmark["data"]["as_of"] > as_of
            as_of = bookmark["data"]["as_of"]
        assert sorted(gaps)[1] < 2.0


async def test_several_services_are_one_stream_and_other_environments_are_another(
    hub: RunningHub, service_name: str
) -> None:
    second = f"{service_name}-2"
    await register(hub.http, service_name, environment="staging")
    async with watching(hub.http, second, service_name, environment="staging") as events:
        lists = [data for _, data in await part(events)]
        assert [(each["service"], len(each["instances"])) for each in lists] == [(service_name, 1), (second, 0)]
        await register(hub.http, second, environment="default")
        await register(hub.http, second, "two", environment="staging")
        _, told = await news(events)
        assert (told["service"], told["environment"], told["instance_id"]) == (second, "staging", "two")


async def test_what_another_replica_learns_is_told_within_two_seconds_most_of_the_time(
    hub: RunningHub, other: RunningHub, service_name: str
) -> None:
    """The median of several, so that one pause of a busy machine does not decide."""
    made = await register(hub.http, service_name)
    lags = []
    async with watching(other.http, service_name) as events:
        await news(events)
        for number in range(5):
            state = "draining" if number % 2 == 0 else "healthy"
            began = time.monotonic()
            assert (await beat(hub.http, made, state=state)).status_code == 200
            told: dict[str, Any] = {}
            while told.get("state") != state:
                _, told = await news(events)
            lags.append(time.monotonic() - began)
        await hub.http.delete(instance_path(service_name))
        name, told = await news(events)
        assert (name, told["generation"]) == ("gone", 1)
    assert sorted(lags)[2] < AGREED_WITHIN, lags


async def test_a_lease_that_runs_out_is_told(hub: RunningHub, service_name: str) -> None:
    made = [await register(hub.http, service_name, name) for name in ("one", "two", "three", "four")]
    for each in made:
        await beat(hub.http, each)
    async with watching(hub.http, service_name) as events:
        await part(events)
        await let_time_pass(hub, service_name, 3600)
        name, told = await news(events)
        assert (name, told["state"], told["kept"]) == ("instance", "healthy", True)


async def test_an_instance_that_is_spoken_of_no_more_is_gone(hub: RunningHub, service_name: str) -> None:
    await register(hub.http, service_name)
    async with watching(hub.http, service_name) as events:
        await part(events)
        await let_time_pass(hub, service_name, 3_700)
        while (told := await news(events))[0] != "gone":
            assert told[1]["instance_id"] == "one"
        assert told[1]["instance_id"] == "one"


async def test_a_watch_needs_a_service_in_the_tokens_scope(hub: RunningHub, service_name: str) -> None:
    assert_problem(await hub.http.get("/api/v1/discovery/watch"), 422, "invalid_request")
    for name in ("_global", "watch", "a.>"):
        answer = await hub.http.get("/api/v1/discovery/watch", params={"service": name})
        assert_problem(answer, 422, "invalid_name")
    async with hub.client(await hub.new_token(services=["mine"])) as client:
        answer = await client.get("/api/v1/discovery/watch", params={"service": ["mine", service_name]})
        assert_problem(answer, 403, "forbidden")
    async with hub.client(await hub.new_token(verbs=["register"])) as client:
        answer = await client.get("/api/v1/discovery/watch", params={"service": service_name})
        assert_problem(answer, 403, "forbidden")


async def test_a_revoked_token_ends_its_open_streams_within_two_seconds(hub: RunningHub, service_name: str) -> None:
    body = {"name": "w", "verbs": ["read"], "services": ["*"], "environments": ["*"]}
    created = (await hub.http.post("/api/v1/tokens", json=body)).json()
    async with hub.client(created["token"]) as client, watching(client, service_name) as events:
        await part(events)
        await hub.http.delete(f"/api/v1/tokens/{created['id']}")
        started = time.monotonic()
        await end_of(events)
        assert time.monotonic() - started < 2.0


async def test_a_hub_that_drains_ends_its_streams(start_hub: Start, service_name: str) -> None:
    leaving = await start_hub()
    async with watching(leaving.http, service_name) as events:
        await part(events)
        leaving.service.drain()
        await end_of(events)


async def test_what_many_are_told_is_encoded_once(hub: RunningHub, service_name: str) -> None:
    events = InstanceEvents(hub.service.coordination)
    made = await register(hub.http, service_name)
    before = hub.service.coordination.changes.of_service(service_name)
    await beat(hub.http, made)
    told = [events.changed_since(service_name, "default", before) for _ in range(3)]
    assert told[0].startswith(b"event: instance\n")
    assert len({id(each) for each in told}) == 1
    await beat(hub.http, made, state="draining")
    assert b'"draining"' in events.changed_since(service_name, "default", before)


async def test_many_watchers_of_a_service_all_hear_of_a_change(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(hub.client(hub.token))
        client.timeout = httpx2.Timeout(PATIENCE)
        streams = [await stack.enter_async_context(watching(client, service_name)) for _ in range(90)]
        for events in streams:
            assert (await news(events))[0] == "instances"
        await beat(hub.http, made, state="draining")
        assert {(await news(events))[1]["state"] for events in streams} == {"draining"}
        assert (await hub.http.get("/api/v1/health")).status_code == 200
