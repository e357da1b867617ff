"""G14: tokens on several replicas: who asks too early is told to wait, and a revoked one ends everywhere."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from central_hub import process
from central_hub.config.tail import Tail
from central_hub.connections.database import Database
from central_hub.connections.link import Link
from central_hub.embedded import Endpoints
from central_hub.security import registry
from central_hub.security.registry import TokenRegistry
from central_hub.security.tokens import generate
from central_hub.service import CentralHubService
from central_hub.settings import HubSettings
from central_hub.storage.config_values import Head
from tests.conftest import DatabaseUrls, RunningHub, hub_settings
from tests.faults.harness import free_port
from tests.faults.watchers import events, opened

START = Callable[..., Awaitable[RunningHub]]


async def until_answered(http: httpx2.AsyncClient, service: str, status: int) -> None:
    """Ask for the config until the answer has this status."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(httpx2.ConnectError):
                if (await http.get(f"/api/v1/config/{service}")).status_code == status:
                    return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def starting(settings: HubSettings) -> AsyncIterator[str]:
    """A hub that is not ready yet, and its URL."""
    stop = asyncio.Event()
    became_ready = False

    async def on_ready(_hub: CentralHubService, _url: str) -> None:
        nonlocal became_ready
        became_ready = True

    with process.listening_socket(settings) as listener:
        serving = asyncio.create_task(process.serve(settings, listener, stop, on_ready))
        try:
            yield process.address(settings, listener)
        finally:
            stop.set()
            await serving
    assert not became_ready


async def test_a_valid_token_is_told_to_wait_while_a_replica_starts(
    servers: Endpoints, database: DatabaseUrls, tmp_path: Path
) -> None:
    dead = SecretStr(f"postgresql://nobody:nothing@127.0.0.1:{free_port()}/nowhere")
    settings = hub_settings(servers, database, tmp_path, database_url=dead)
    async with starting(settings) as url, httpx2.AsyncClient(base_url=url) as http:
        await until_answered(http, "some", 401)
        headers = {"Authorization": f"Bearer {generate()}"}
        for path in ("/api/v1/config/some", "/api/v1/config/watch?service=some", "/api/v1/keys"):
            answer = await http.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), path
            assert answer.headers["retry-after"] == "1"
            assert (await http.get(path)).status_code == 401


async def test_a_replica_is_not_ready_before_its_tokens_are_loaded(hub: RunningHub, database: DatabaseUrls) -> None:
    # The tokens are read when the tail tells where the log ends; readiness is that the tail is loaded.
    was_loaded: list[bool] = []

    async def load_tokens(_head: Head) -> None:
        was_loaded.append(tail.is_loaded)

    store = Database(database.running, pool_size=1)
    tail = Tail(store, Link("postgres", is_needed=True), on_head=load_tokens)
    await tail.load()
    await store.close()
    assert was_loaded == [False]
    assert tail.is_loaded


async def test_two_replicas_that_start_together_take_the_same_admin_token(
    hub: RunningHub, database: DatabaseUrls, tmp_path: Path
) -> None:
    databases = [Database(database.running, pool_size=1) for _ in range(4)]
    for number in range(10):
        path = tmp_path / f"{number}.token"
        path.write_text(generate())
        registries = [TokenRegistry(each, on_change=lambda: None) for each in databases]
        await asyncio.gather(*(registry.ensure_admin(path) for registry in registries))
    for each in databases:
        await each.close()


async def test_an_old_look_at_the_tokens_never_takes_the_place_of_a_newer_one(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await hub.new_token()
    token_id = (await hub.http.get("/api/v1/tokens")).json()["tokens"][-1]["id"]
    has_looked = asyncio.Event()
    valid = registry.tokens.valid

    async def slowly(connection: Any) -> Any:
        rows = await valid(connection)
        monkeypatch.setattr(registry.tokens, "valid", valid)
        has_looked.set()
        await asyncio.sleep(0.3)
        return rows

    monkeypatch.setattr(registry.tokens, "valid", slowly)
    another = replace(hub.service.tail.snapshot.head, tokens_version=-2)
    looking = asyncio.create_task(hub.service.tokens.refresh(another))
    await has_looked.wait()
    assert (await hub.http.delete(f"/api/v1/tokens/{token_id}")).status_code == 204
    await looking
    async with hub.client(token) as client:
        assert (await client.get("/api/v1/keys")).status_code == 401


async def test_a_token_revoked_on_one_replica_ends_everywhere_within_two_seconds(
    hub: RunningHub, database: DatabaseUrls, start_hub: START, service_name: str
) -> None:
    other = await start_hub(on=database)
    await hub.http.post(f"/api/v1/config/{service_name}", json={"config": {"a": 1}})
    made = (
        await hub.http.post(
            "/api/v1/tokens", json={"name": "t", "verbs": ["read"], "services": ["*"], "environments": ["*"]}
        )
    ).json()
    params = {"service": service_name}
    revoked_at = 0.0

    async with hub.client(made["token"]) as here, other.client(made["token"]) as there:
        for client in (here, there):
            await until_answered(client, service_name, 200)

        async def end_of_stream(client: httpx2.AsyncClient) -> float:
            async with opened(client, params, {}) as answer:
                async for _ in events(answer):
                    pass
            return time.monotonic() - revoked_at

        async def end_of_long_poll(client: httpx2.AsyncClient) -> float:
            query = {"after": 10**9, "wait": 30}
            with contextlib.suppress(httpx2.HTTPError):
                await client.get(f"/api/v1/config/{service_name}", params=query)
            return time.monotonic() - revoked_at

        async def end_of_reads(client: httpx2.AsyncClient) -> float:
            await until_answered(client, service_name, 401)
            return time.monotonic() - revoked_at

        ends = [
            asyncio.create_task(end(c))
            for c in (here, there)
            for end in (end_of_stream, end_of_long_poll, end_of_reads)
        ]
        await asyncio.sleep(0.5)
        assert not any(end.done() for end in ends)
        revoked_at = time.monotonic()
        assert (await hub.http.delete(f"/api/v1/tokens/{made['id']}")).status_code == 204
        async with asyncio.timeout(10):
            took = await asyncio.gather(*ends)
    assert max(took) < 2.0, took
