"""What is under the services, over HTTP: told with reasons, never with a credential, and checked when somebody asks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from central_hub.connections.health_probe import Probed
from central_hub.embedded import Endpoints
from central_hub.monitoring.infrastructure import Component, Maintenance, Need, Section
from central_hub.rendezvous import chosen
from central_hub_client.wire import HUB_STALE
from tests.conftest import DatabaseUrls, RunningHub, create_database
from tests.integration.instances import eventually
from tests.integration.test_config_documents import assert_problem
from tests.integration.watched_targets import INFRASTRUCTURE, Watching, component, connect, listening, state, truth

Start = Callable[..., Awaitable[RunningHub]]


async def listed(hub: RunningHub, **query: str) -> dict[str, dict[str, Any]]:
    answer = await hub.http.get("/api/v1/infrastructure/", params=query)
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["components"]}


async def told(hub: RunningHub, name: str, **query: Any) -> dict[str, Any]:
    answer = await hub.http.get(f"/api/v1/infrastructure/{name}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@asynccontextmanager
async def no_store(servers: Endpoints, database: DatabaseUrls) -> AsyncIterator[None]:
    """The hubs' database is not reached during the block."""
    name = sa.make_url(database.running).database
    owner = await asyncpg.connect(servers.migration_database_url)
    try:
        await owner.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await owner.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await owner.close()


async def test_every_component_is_told_with_its_state_and_why(hub: RunningHub) -> None:
    now = datetime.now(UTC)
    disks = Maintenance(frozenset({"down"}), now - timedelta(hours=1), now + timedelta(hours=1), "new disks")
    unprobed = Component("api", Section.ENDPOINTS, "http", {"url": "http://127.0.0.1:1/"}, None)
    async with listening() as port:
        well = replace(component("db", port), description="Orders.", labels={"team": "platform"})
        Watching([hub]).be([well, component("down", 1), unprobed], disks)
        await eventually(lambda: truth((state(hub, "db"), state(hub, "down")) == ("healthy", "unhealthy")))
        found = await listed(hub)
    assert list(found) == ["api", "db", "down"]
    assert {key: found["db"][key] for key in ("section", "type", "description", "labels", "reason", "maintenance")} == {
        "section": "databases",
        "type": "tcp",
        "description": "Orders.",
        "labels": {"team": "platform"},
        "reason": None,
        "maintenance": None,
    }
    assert found["db"]["latency_ms"] > 0
    assert found["db"]["since"] <= found["db"]["probed_at"]
    assert (found["down"]["state"], found["down"]["reason"]) == ("unhealthy", "the connection was refused")
    assert found["down"]["maintenance"]["reason"] == "new disks"
    assert (found["api"]["state"], found["api"]["since"], found["api"]["reason"]) == (None, None, "it is not probed")
    assert set(await listed(hub, state="unhealthy")) == {"down"}
    assert set(await listed(hub, section="endpoints")) == {"api"}
    assert_problem(await hub.http.get("/api/v1/infrastructure/", params={"state": "odd"}), 422, "invalid_request")
    assert HUB_STALE not in (await hub.http.get("/api/infrastructure/")).headers


async def test_one_component_is_told_with_its_shape_and_its_history(hub: RunningHub) -> None:
    reference = {"$secret": "env://POSTGRES_PASSWORD"}
    shaped = component("db", 1, failures=2)
    shaped = replace(
        shaped, connection={**shaped.connection, "password": reference}, depends_on={"nats": Need.OPTIONAL}
    )
    Watching([hub]).be([shaped])
    await eventually(lambda: truth(state(hub, "db") == "unhealthy"))
    found = await told(hub, "db")
    assert found["connection"] == {"host": "127.0.0.1", "port": 1, "password": reference}
    assert found["probe"] == {
        "kind": "tcp",
        "interval_seconds": 0.1,
        "timeout_seconds": 0.5,
        "failures": 2,
        "successes": 2,
        "options": {},
    }
    assert found["depends_on"] == {"nats": "optional"}
    newest = found["transitions"][0]
    assert (newest["from"], newest["to"], newest["reason"]) == ("degraded", "unhealthy", "the connection was refused")
    assert newest["at"] == found["since"]
    assert len((await told(hub, "db", limit=1))["transitions"]) == 1
    assert_problem(await hub.http.get("/api/v1/infrastructure/nobody"), 404, "not_found")
    assert_problem(await hub.http.get("/api/v1/infrastructure/db", params={"limit": 0}), 422, "invalid_request")


async def test_whoever_may_read_sees_it_and_who_may_act_on_everything_checks(hub: RunningHub) -> None:
    Watching([hub]).be([component("db", 1, interval=60)])
    async with hub.client(await hub.new_token(services=["other-*"])) as client:
        assert (await client.get(f"{INFRASTRUCTURE}/")).status_code == 200
        assert (await client.get(f"{INFRASTRUCTURE}/db")).status_code == 200
        assert_problem(await client.post(f"{INFRASTRUCTURE}/db/check"), 403, "forbidden")
    for fields in ({"services": ["svc-*"]}, {"environments": ["staging"]}):
        async with hub.client(await hub.new_token(verbs=["write"], **fields)) as client:
            assert_problem(await client.post(f"{INFRASTRUCTURE}/db/check"), 403, "forbidden")
            assert_problem(await client.get(f"{INFRASTRUCTURE}/"), 403, "forbidden")
    async with hub.client(await hub.new_token(verbs=["write"])) as client:
        assert (await client.post("/api/v1/infrastructure/db/check")).status_code == 200
        assert_problem(await client.post(f"{INFRASTRUCTURE}/nobody/check"), 404, "not_found")


async def test_a_check_counts_at_every_replica_whoever_is_asked(servers: Endpoints, start_hub: Start) -> None:
    database = await create_database(servers)
    hubs = [await start_hub(database), await start_hub(database)]
    both = {hub.service.monitoring.own_id for hub in hubs}
    for hub in hubs:
        hub.service.monitoring.share_with(both)
    watching = Watching(hubs)
    watching.be([component("db", 1, interval=600, failures=2)])
    await eventually(lambda: truth(all(state(hub, "db") == "degraded" for hub in hubs)))
    [other] = [hub for hub in hubs if hub.service.monitoring.own_id != chosen("db", both)]
    checked = (await other.http.post(f"{INFRASTRUCTURE}/db/check")).json()
    assert checked["result"] == {"ok": False, "reason": "the connection was refused", "latency_ms": None}
    assert checked["state"] == "unhealthy"
    assert watching.askers("db") == both
    for hub in hubs:
        await eventually(lambda hub=hub: truth(state(hub, "db") == "unhealthy"))  # type: ignore[misc]
        assert [each["to"] for each in (await told(hub, "db"))["transitions"]] == ["unhealthy", "degraded"]


async def test_checks_that_come_at_once_share_a_probe(hub: RunningHub) -> None:
    watching = Watching([hub])
    asked: list[str] = []
    go = asyncio.Event()

    async def ask(component: Component) -> Probed:
        asked.append(component.name)
        await go.wait()
        return Probed(True, None, 2.0)

    hub.service.monitoring.prober.ask = ask
    watching.be([component("db", 1, interval=600, timeout=20), component("none", 1, interval=600)])
    requests = [asyncio.create_task(hub.http.post(f"{INFRASTRUCTURE}/db/check")) for _ in range(20)]
    await eventually(lambda: truth("db" in asked))
    go.set()
    answers = [(await request).json()["result"] for request in requests]
    assert answers == [{"ok": True, "reason": None, "latency_ms": 2.0}] * 20
    assert asked.count("db") <= 2  # the loop's own first one may have been there before


async def test_what_is_not_probed_cannot_be_checked(hub: RunningHub) -> None:
    Watching([hub]).be([Component("api", Section.ENDPOINTS, "http", {"url": "http://127.0.0.1:1/"}, None)])
    assert_problem(await hub.http.post(f"{INFRASTRUCTURE}/api/check"), 422, "invalid_request")


async def test_without_its_store_a_hub_goes_on_and_says_what_it_does_not_know(
    servers: Endpoints, start_hub: Start
) -> None:
    database = await create_database(servers)
    hubs = [await start_hub(database), await start_hub(database)]
    both = {hub.service.monitoring.own_id for hub in hubs}
    names = {owner: next(f"t{n}" for n in range(100) if chosen(f"t{n}", both) == owner) for owner in both}
    watching = Watching(hubs)
    await eventually(lambda: truth(all(hub.service.monitoring._replicas == both for hub in hubs)))
    hub = hubs[0]
    mine = hub.service.monitoring.own_id
    [others] = both - {mine}
    async with listening() as port:
        watching.be([component(name, port, interval=0.2) for name in names.values()])
        await eventually(lambda: truth({state(hub, name) for name in names.values()} == {"healthy"}))
    async with no_store(servers, database):
        # Nobody listens on the port any more: this replica sees it of its own target, and not of the other's.
        await eventually(lambda: truth(state(hub, names[mine]) == "unhealthy"))
        await eventually(lambda: truth(hub.service.monitoring.is_stale))
        answer = await hub.http.get(f"{INFRASTRUCTURE}/{names[mine]}")
        assert (answer.status_code, answer.headers[HUB_STALE]) == (200, "true")
        assert answer.json()["transitions"][0]["to"] == "unhealthy"
        assert (await hub.http.get(f"{INFRASTRUCTURE}/")).headers[HUB_STALE] == "true"
        assert state(hub, names[others]) in ("healthy", "degraded", "unhealthy")
    for each in hubs:
        for name in names.values():
            await eventually(
                lambda each=each, name=name: truth(state(each, name) == "unhealthy"),  # type: ignore[misc]
                within=30,
            )
        await eventually(lambda each=each: truth(not each.service.monitoring.is_stale), within=30)  # type: ignore[misc]
    for name in names.values():

        async def is_written(name: str = name) -> bool:
            return (await told(hubs[1], name))["transitions"][0]["to"] == "unhealthy"

        await eventually(is_written)


async def test_targets_are_measured(hub: RunningHub) -> None:
    watching = Watching([hub])
    async with listening() as port:
        watching.be([component("up", port), component("down", 1)])
        await eventually(lambda: truth((state(hub, "up"), state(hub, "down")) == ("healthy", "unhealthy")))
        text = (await hub.http.get("/metrics")).text
    assert 'central_hub_target_up{target="up"} 1.0' in text
    assert 'central_hub_target_up{target="down"} 0.0' in text
    assert 'central_hub_target_state{state="unhealthy",target="down"} 1.0' in text
    assert 'central_hub_target_state{state="healthy",target="down"} 0.0' in text
    assert 'central_hub_target_probe_seconds_count{target="up"}' in text
    assert 'central_hub_target_transitions_total{state="unhealthy"}' in text
    watching.be([])
    text = (await hub.http.get("/metrics")).text
    assert 'target="up"' not in text
    assert 'target="down"' not in text


@pytest.fixture(autouse=True)
async def nothing_is_left(hub: RunningHub) -> AsyncIterator[None]:
    """The module's hub watches nothing once a test is over, and what it watched is forgotten."""
    yield
    Watching([hub]).be([])
    await hub.service.monitoring.write()
    owner = hub.service.connections.database
    await owner.transaction(lambda connection: connection.execute(sa.text("DELETE FROM target_transitions")))


async def test_the_targets_are_those_of_the_file_as_it_changes(start_hub: Start, tmp_path: Path) -> None:
    file = tmp_path / "infrastructure.yaml"
    async with listening() as port:
        tcp = f"type: tcp, host: 127.0.0.1, port: {port}, probe: {{interval_seconds: 1, timeout_seconds: 0.5}}"
        file.write_text(f"version: 1\nendpoints:\n  first: {{{tcp}}}\n")
        hub = await start_hub(infrastructure_file=file)
        hub.service.monitoring.prober.ask = connect
        await eventually(lambda: truth(state(hub, "first") == "healthy"))
        file.write_text(f"version: 1\nendpoints:\n  second: {{{tcp}}}\n")
        await eventually(lambda: truth(state(hub, "second") == "healthy"))
        assert state(hub, "first") is None
        file.write_text("version: 1\nendpoints:\n  third: {type: tcq}\n")

        async def is_refused() -> bool:
            return (await hub.http.get("/api/v1/infrastructure/")).json()["error"] is not None

        await eventually(is_refused)
        told_now = (await hub.http.get("/api/v1/infrastructure/")).json()
    assert [each["name"] for each in told_now["components"]] == ["second"]
    assert told_now["error"].startswith("line 3, column 17: ")
