"""G3, G4, G16: the store is another one than before: with a new epoch everybody follows, without one hubs fence off."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import sqlalchemy as sa

from central_hub.config import tail
from central_hub.embedded import Endpoints
from central_hub.storage import configs
from central_hub_client import ConfigClient
from central_hub_client.wire import HUB_STALE, Position
from tests.conftest import DatabaseUrls, RunningHub, create_database
from tests.faults import audit_log, checks
from tests.faults.report import report
from tests.faults.watchers import Watcher, following
from tests.wire.waiting import until

START = Callable[..., Awaitable[RunningHub]]


class Store:
    """A database of hubs that can be put aside and brought back, as somebody does who restores a backup."""

    def __init__(self, servers: Endpoints, database: DatabaseUrls) -> None:
        self.database = database
        self._servers = servers
        self._name = sa.make_url(database.owner).database

    async def back_up(self, copy: str) -> None:
        """Keep the store as it is now."""
        await self._alone(f"CREATE DATABASE {self._name}_{copy} TEMPLATE {self._name}")

    async def restore(self, copy: str, *, keep_as: str) -> None:
        """Put a copy in the place of the store, and keep what was there."""
        await self._alone(
            f"ALTER DATABASE {self._name} RENAME TO {self._name}_{keep_as}",
            f"ALTER DATABASE {self._name}_{copy} RENAME TO {self._name}",
        )

    async def take(self, database: DatabaseUrls) -> None:
        """Put another database, which nobody uses, in the place of the store, which is lost."""
        name = sa.make_url(database.owner).database
        await self._alone(
            f"ALTER DATABASE {self._name} RENAME TO {self._name}_lost", f"ALTER DATABASE {name} RENAME TO {self._name}"
        )

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """The store lets nobody in during the block."""
        async with self._without_connections():
            yield

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """There is no store of this name during the block."""
        async with self._without_connections() as connection:
            await connection.execute(f"ALTER DATABASE {self._name} RENAME TO {self._name}_away")
            yield
            await connection.execute(f"ALTER DATABASE {self._name}_away RENAME TO {self._name}")

    async def raise_epoch(self) -> None:
        """As the hub tells an operator to do who wants the store as it is now."""
        connection = await asyncpg.connect(self.database.owner)
        await connection.execute(configs.RAISE_EPOCH)
        await connection.close()

    async def last_revision(self) -> int:
        """Of the log, whatever a hub may think of it."""
        connection = await asyncpg.connect(self.database.owner)
        revision: int = await connection.fetchval("SELECT max(revision) FROM config_audit_log")
        await connection.close()
        return revision

    async def _alone(self, *statements: str) -> None:
        async with self._without_connections() as connection:
            for statement in statements:
                await connection.execute(statement)

    @asynccontextmanager
    async def _without_connections(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection beside the store, to do what PostgreSQL does only to a database that nobody uses."""
        connection = await asyncpg.connect(self._servers.migration_database_url)
        try:
            await connection.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", self._name
            )
            yield connection
            await connection.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")
        finally:
            await connection.close()


@pytest.fixture
async def store(servers: Endpoints) -> Store:
    return Store(servers, await create_database(servers))


async def write(hub: RunningHub, service: str, config: dict[str, Any]) -> httpx2.Response:
    return await hub.http.post(f"/api/v1/config/{service}", json={"config": config, "mode": "merge"})


async def accepted(hub: RunningHub, service: str, config: dict[str, Any]) -> Position:
    """Write until it is accepted: the connections of the pool may have ended with the old store."""
    async with asyncio.timeout(10):
        while (answer := await write(hub, service, config)).status_code != 200:
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), answer.text
            await asyncio.sleep(0.05)
    told = answer.json()
    return Position(told["epoch"], told["revision"])


async def read(hub: RunningHub, service: str) -> tuple[dict[str, Any], bool]:
    """The config, and whether it is marked as stale."""
    answer = await hub.http.get(f"/api/v1/config/{service}")
    assert answer.status_code == 200, answer.text
    return answer.json()["config"], answer.headers.get(HUB_STALE) == "true"


async def until_reads(hub: RunningHub, service: str, config: dict[str, Any], *, stale: bool) -> None:
    async with asyncio.timeout(10):
        while True:
            if await read(hub, service) == (config, stale):
                return
            await asyncio.sleep(0.02)


async def assert_fenced(hub: RunningHub, service: str, config: dict[str, Any]) -> None:
    """Reads go on, marked as stale; nothing is written; and the hub says why, and what to do."""
    await until(lambda: hub.service.tail.fenced is not None)
    assert await read(hub, service) == (config, True)
    refusal = await write(hub, service, {"written": "while fenced"})
    assert (refusal.status_code, refusal.json()["code"]) == (503, "store_unavailable")
    assert (await hub.http.get("/health/ready")).status_code == 200
    health = (await hub.http.get("/health")).json()
    assert (health["state"], health["components"]["postgres"]["ok"]) == ("degraded", False)
    assert health["reasons"][0] == refusal.json()["detail"]
    assert "the store was restored or replaced" in health["reasons"][0]
    assert "raise its epoch" in health["reasons"][0]


def client_of(hub: RunningHub, service: str, cache: Path) -> ConfigClient:
    return ConfigClient(service, hub.url, token=hub.token, cache_dir=cache, safe_defaults={})


async def test_a_new_epoch_is_followed_by_hubs_watchers_and_clients(
    start_hub: START, store: Store, service_name: str, tmp_path: Path, rng: random.Random, seed: int
) -> None:
    hubs = [await start_hub(on=store.database) for _ in range(2)]
    await accepted(hubs[0], service_name, {"n": 1})
    for hub in hubs:
        await until(lambda hub=hub: hub.service.tail.snapshot.revision == 1)  # type: ignore[misc]
    watchers = [Watcher([hub.http], rng, [service_name]) for hub in hubs]
    async with following(*watchers), client_of(hubs[1], service_name, tmp_path) as client:
        await until(lambda: client.status.epoch == 1)
        await store.raise_epoch()
        await until(lambda: all(hub.service.tail.snapshot.epoch == 2 for hub in hubs))
        await until(lambda: client.status.epoch == 2)
        assert client.get_value("n") == 1
        position = await accepted(hubs[0], service_name, {"n": 2})
        assert position == Position(2, 2)
        await until(lambda: client.get_value("n") == 2)
        for watcher in watchers:
            await watcher.reaches(position)
    log = await audit_log.fetch(hubs[1].http)
    report("the epoch is raised under live hubs", faults=1, hubs=len(hubs), seed=seed)
    assert checks.log_violations(log) == []
    assert [(record.entry.epoch, record.entry.revision) for record in log.records] == [(1, 1), (2, 2)]
    for hub in hubs:
        assert await read(hub, service_name) == ({"n": 2}, False)
        assert hub.service.health().state == "healthy"
    for watcher in watchers:
        positions = [event.position for event in watcher.recording.events]
        assert positions == sorted(positions)


async def test_a_store_that_went_back_fences_hubs_until_it_is_the_right_one_again(
    start_hub: START, store: Store, service_name: str, tmp_path: Path, rng: random.Random, seed: int
) -> None:
    hubs = [await start_hub(on=store.database) for _ in range(2)]
    await accepted(hubs[0], service_name, {"n": 1})
    await store.back_up("older")
    await accepted(hubs[0], service_name, {"n": 2})
    for hub in hubs:
        await until_reads(hub, service_name, {"n": 2}, stale=False)
    watchers = [Watcher([hub.http], rng, [service_name]) for hub in hubs]
    async with following(*watchers), client_of(hubs[0], service_name, tmp_path) as client:
        await until(lambda: client.status.revision == 2)
        await store.restore("older", keep_as="right")
        for hub in hubs:
            await assert_fenced(hub, service_name, {"n": 2})
        await store.restore("right", keep_as="older")
        position = await accepted(hubs[1], service_name, {"n": 3})
        assert position == Position(1, 3)
        await until(lambda: client.get_value("n") == 3)
        for watcher in watchers:
            await watcher.reaches(position)
    report("the store goes back, and comes again", faults=2, hubs=len(hubs), fenced=len(hubs), seed=seed)
    log = await audit_log.fetch(hubs[0].http)
    assert checks.log_violations(log) == []
    for hub, watcher in zip(hubs, watchers, strict=True):
        await until_reads(hub, service_name, {"n": 3}, stale=False)
        assert hub.service.health().state == "healthy"
        assert checks.watch_violations(log, watcher.recording) == []


async def test_a_new_epoch_of_a_store_that_went_back_takes_everybody_along(
    start_hub: START, store: Store, service_name: str, tmp_path: Path, seed: int
) -> None:
    hubs = [await start_hub(on=store.database) for _ in range(2)]
    await accepted(hubs[0], service_name, {"n": 1})
    await store.back_up("older")
    for n in (2, 3, 4):
        await accepted(hubs[0], service_name, {"n": n})
    for hub in hubs:
        await until_reads(hub, service_name, {"n": 4}, stale=False)
    async with client_of(hubs[0], service_name, tmp_path) as client:
        await until(lambda: client.get_value("n") == 4)
        await store.restore("older", keep_as="lost")
        for hub in hubs:
            await assert_fenced(hub, service_name, {"n": 4})
        await store.raise_epoch()
        for hub in hubs:
            await until_reads(hub, service_name, {"n": 1}, stale=False)
        await until(lambda: client.get_value("n") == 1)
        assert (client.status.epoch, client.status.revision) == (2, 1)
        assert await accepted(hubs[1], service_name, {"n": 5}) == Position(2, 2)
        await until(lambda: client.get_value("n") == 5)
    report("the store goes back for good", faults=1, hubs=len(hubs), lost_revisions=3, seed=seed)
    assert checks.log_violations(await audit_log.fetch(hubs[0].http)) == []


@pytest.mark.parametrize("state", ["closed", "away"])
async def test_a_store_that_is_being_restored_is_a_store_that_is_down(
    start_hub: START, store: Store, service_name: str, state: str, seed: int
) -> None:
    hub = await start_hub(on=store.database)
    await accepted(hub, service_name, {"n": 1})
    async with getattr(store, state)():
        await until(lambda: hub.service.tail.is_stale)
        assert await read(hub, service_name) == ({"n": 1}, True)
        past = await hub.http.get(f"/api/v1/config/history/{service_name}")
        for answer in (past, await write(hub, service_name, {"n": 2})):
            assert (answer.status_code, answer.json().get("code")) == (503, "store_unavailable"), answer.text
        assert hub.service.health().reasons[0].startswith("postgres: not reached")
    assert await accepted(hub, service_name, {"n": 3}) == Position(1, 2)
    report(f"the store is {state} for a while", faults=1, seed=seed)


async def test_a_write_meets_a_store_that_went_back_before_the_hub_has_looked(
    start_hub: START, store: Store, service_name: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    hub = await start_hub(on=store.database)
    await accepted(hub, service_name, {"n": 1})
    await store.back_up("older")
    await accepted(hub, service_name, {"n": 2})
    # From here on the hub looks at the log only when it is told to.
    monkeypatch.setattr(tail, "POLL_SECONDS", 600.0)
    await asyncio.sleep(1.5)
    await store.restore("older", keep_as="right")
    assert hub.service.tail.fenced is None
    refusal = await write(hub, service_name, {"n": 3})
    assert (refusal.status_code, refusal.json()["code"]) == (503, "store_unavailable")
    await assert_fenced(hub, service_name, {"n": 2})
    report("a write meets a store that went back", faults=1, acknowledged=0, seed=seed)
    assert await store.last_revision() == 1


async def test_a_store_that_went_back_and_was_written_to_is_still_another_one(
    start_hub: START, store: Store, service_name: str, seed: int
) -> None:
    hub = await start_hub(on=store.database)
    await accepted(hub, service_name, {"n": 1})
    await store.back_up("older")
    await accepted(hub, service_name, {"n": 2})
    await store.restore("older", keep_as="lost")
    await assert_fenced(hub, service_name, {"n": 2})
    started_since = await start_hub(on=store.database)
    for n in (3, 4):
        position = await accepted(started_since, service_name, {"n": n})
        # Long enough for the other hub to look at the log, which is no longer behind it.
        await asyncio.sleep(1.2)
        await assert_fenced(hub, service_name, {"n": 2})
    assert position == Position(1, 3)
    await store.raise_epoch()
    for each in (hub, started_since):
        await until_reads(each, service_name, {"n": 4}, stale=False)
    assert await accepted(hub, service_name, {"n": 5}) == Position(2, 4)
    report("the store goes back and is written to", faults=1, lost_revisions=1, seed=seed)


async def test_a_store_of_an_earlier_epoch_went_back_whatever_its_revision(
    start_hub: START, store: Store, service_name: str, seed: int
) -> None:
    hub = await start_hub(on=store.database)
    await accepted(hub, service_name, {"n": 1})
    await store.back_up("older")
    await store.raise_epoch()
    await until(lambda: hub.service.tail.snapshot.epoch == 2)
    await store.restore("older", keep_as="right")
    await assert_fenced(hub, service_name, {"n": 1})
    await store.restore("right", keep_as="older")
    assert await accepted(hub, service_name, {"n": 2}) == Position(2, 2)
    report("the store goes back to an earlier epoch", faults=2, seed=seed)
