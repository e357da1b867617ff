"""Server-sent events: the current state, every change in order, bookmarks, resumption, an end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson

from tests.conftest import RunningHub
from tests.integration.test_config_documents import assert_problem, own_etag, path, put


class Events:
    """The events of an open stream, one at a time."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self) -> dict[str, Any]:
        event: dict[str, Any] = {}
        async with asyncio.timeout(5):
            async for line in self._lines:
                if not line:
                    return event
                name, _, value = line.partition(": ")
                event[name] = orjson.loads(value) if name == "data" else value
        raise EOFError

    async def next_config(self) -> dict[str, Any]:
        while True:
            event = await self.next()
            if event["event"] == "config":
                return event


@asynccontextmanager
async def watching(
    hub: RunningHub, services: list[str], headers: dict[str, str] | None = None, **params: Any
) -> AsyncIterator[Events]:
    async with hub.http.stream(
        "GET", "/api/v1/config/watch", params={"service": services, **params}, headers=headers or {}
    ) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)


async def test_the_current_state_comes_first_and_then_every_change(hub: RunningHub, service_name: str) -> None:
    created = (await put(hub, service_name, {"a": 1})).json()
    async with watching(hub, [service_name]) as events:
        first = await events.next()
        assert first["event"] == "config"
        assert first["data"]["config"]["a"] == 1
        assert first["id"] == f"1.{created['revision']}"
        changed = (await hub.http.post(path(service_name), json={"config": {"a": 2}})).json()
        second = await events.next_config()
        assert second["data"]["config"]["a"] == 2
        assert second["data"]["previous_revision"] == created["revision"]
        assert second["id"] == f"1.{changed['revision']}"


async def test_a_bookmark_comes_every_two_seconds(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    async with watching(hub, [service_name]) as events:
        await events.next()
        started = time.monotonic()
        bookmark = await events.next()
        assert bookmark["event"] == "bookmark"
        assert time.monotonic() - started < 2.0
        assert bookmark["data"].keys() == {"hub_id", "epoch", "revision", "audit_head"}
        assert bookmark["data"]["audit_head"].startswith("sha256:")


async def test_a_stream_resumes_after_the_last_event_and_misses_nothing(hub: RunningHub, service_name: str) -> None:
    other = f"{service_name}-2"
    await put(hub, service_name, {"a": 1})
    seen = (await put(hub, other, {"b": 1})).json()["revision"]
    changed = (await hub.http.post(path(service_name), json={"config": {"a": 2}})).json()["revision"]
    async with watching(hub, [service_name, other], headers={"Last-Event-ID": f"1.{seen}"}) as events:
        event = await events.next()
        assert (event["data"]["service"], event["id"]) == (service_name, f"1.{changed}")
    async with watching(hub, [service_name, other], after=changed) as events:
        assert (await events.next())["event"] == "bookmark"


async def test_events_of_one_batch_carry_one_id_at_the_end(hub: RunningHub, service_name: str) -> None:
    other = f"{service_name}-2"
    await put(hub, service_name, {"a": 1})
    await put(hub, other, {"b": 1})
    await hub.http.post("/api/v1/config/_global", json={"config": {service_name: 1}, "mode": "merge"})
    async with watching(hub, [service_name, other]) as events:
        first, second = await events.next(), await events.next()
        assert first["data"]["revision"] == second["data"]["revision"]
        assert "id" not in first
        assert second["id"] == f"1.{second['data']['revision']}"


async def test_a_deletion_and_a_later_creation_are_told(hub: RunningHub, service_name: str) -> None:
    async with watching(hub, [service_name]) as events:
        assert (await events.next())["event"] == "bookmark"
        await put(hub, service_name, {"a": 1})
        assert (await events.next_config())["data"]["config"]["a"] == 1
        await hub.http.delete(path(service_name), headers={"If-Match": await own_etag(hub, service_name)})
        deleted = (await events.next_config())["data"]
        assert (deleted["deleted"], deleted["config"]) == (True, None)


async def test_an_environment_hears_of_changes_in_the_layers_below_it(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    async with watching(hub, [service_name], environment="production") as events:
        assert (await events.next())["data"]["environment"] == "production"
        await hub.http.post(path(service_name), json={"config": {"a": 2}})
        assert (await events.next_config())["data"]["config"]["a"] == 2


async def test_resuming_in_another_epoch_or_in_the_future_is_refused(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    params = {"service": service_name, "after": "99.1"}
    assert_problem(await hub.http.get("/api/v1/config/watch", params=params), 410, "epoch_changed")
    params["after"] = "1.999999"
    assert_problem(await hub.http.get("/api/v1/config/watch", params=params), 503, "replica_behind")


async def test_a_watch_needs_a_service_in_the_tokens_scope(hub: RunningHub, service_name: str) -> None:
    assert_problem(await hub.http.get("/api/v1/config/watch"), 422, "invalid_request")
    token = await hub.new_token(services=["other-*"])
    async with hub.client(token) as client:
        answer = await client.get("/api/v1/config/watch", params={"service": service_name})
        assert_problem(answer, 403, "forbidden")


async def test_a_revoked_token_ends_its_open_streams_within_two_seconds(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    created = await hub.http.post(
        "/api/v1/tokens", json={"name": "w", "verbs": ["read"], "services": ["*"], "environments": ["*"]}
    )
    async with (
        hub.client(created.json()["token"]) as client,
        client.stream("GET", "/api/v1/config/watch", params={"service": service_name}) as answer,
    ):
        events = Events(answer)
        await events.next()
        await hub.http.delete(f"/api/v1/tokens/{created.json()['id']}")
        started = time.monotonic()
        with contextlib.suppress(EOFError):
            while True:
                await events.next()
        assert time.monotonic() - started < 2.0
