"""Health endpoints of real instances are asked, and what they answer counts, at every replica."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from central_hub.connections.health_probe import TIMEOUT_SECONDS
from central_hub.embedded import Endpoints
from tests.conftest import RunningHub, create_database
from tests.integration.instances import beat, eventually, listed, register
from tests.integration.test_config_documents import assert_problem
from tests.integration.test_service_health import health
from tests.wire.health_endpoints import LATE_SECONDS, HealthEndpoints, health_endpoints

Start = Callable[..., Awaitable[RunningHub]]
LEASE = 3600
"""Seconds: instances here send one heartbeat, and no other."""


@pytest.fixture
async def endpoints() -> AsyncIterator[HealthEndpoints]:
    async with health_endpoints() as running:
        yield running


def check_often(hub: RunningHub, seconds: float = 0.1) -> None:
    hub.service.checks.schedule.interval_seconds = seconds


def checks(hub: RunningHub, outcome: str = "passed") -> float:
    return hub.service.metrics.health_checks.labels(outcome)._value.get()


async def healthy(hub: RunningHub, service: str, endpoints: HealthEndpoints, path: str, name: str = "one") -> None:
    """An instance that says that it is healthy."""
    about = {"host": "127.0.0.1", "port": endpoints.port, "health_endpoint": path, "lease_seconds": LEASE}
    await beat(hub.http, await register(hub.http, service, name, **about), state="healthy")


async def shows(hub: RunningHub, service: str, state: str, check: str | None) -> None:
    async def does() -> bool:
        found = await listed(hub, service)
        return [(each["state"], each["check"] and (each["check"]["state"],)) for each in found] == [(state, (check,))]

    await eventually(does)


async def test_an_instance_whose_endpoint_fails_is_not_called_until_it_answers_again(
    servers: Endpoints, start_hub: Start, service_name: str, endpoints: HealthEndpoints
) -> None:
    # Not on the database of the module's hub: that would wait for the second one once it is gone.
    own = await create_database(servers)
    hub, other = await start_hub(own), await start_hub(own)
    endpoints.answer = "/ok"
    await healthy(hub, service_name, endpoints, "/health")
    for replica in (hub, other):
        check_often(replica)
    for replica in (hub, other):
        await shows(replica, service_name, "healthy", "healthy")
    endpoints.answer = "/error"
    for replica in (hub, other):
        await shows(replica, service_name, "unhealthy", "unhealthy")
        [found] = await listed(replica, service_name)
        assert found["check"]["reason"] == "answered 500"
        assert 0 < found["check"]["latency_ms"] < TIMEOUT_SECONDS * 1000
        assert found["check"]["at"] >= found["last_seen"]
        assert_problem(await replica.http.get(f"/api/v1/discovery/{service_name}/route"), 503, "no_instance")
        told = await health(replica, service_name)
        assert told["environments"][0]["reason"] == "none can be called: 1 unhealthy"
        assert told["instances"][0]["reason"] == "its health endpoint fails: answered 500"
        assert told["instances"][0]["check"]["state"] == "unhealthy"
    endpoints.answer = "/ok"
    for replica in (hub, other):
        await shows(replica, service_name, "healthy", "healthy")
        assert (await replica.http.get(f"/api/v1/discovery/{service_name}/route")).status_code == 200


@pytest.mark.parametrize("path", ["/redirect", "/close", "/garbage"])
async def test_whatever_is_no_answer_counts_as_a_failure(
    hub: RunningHub, service_name: str, endpoints: HealthEndpoints, path: str
) -> None:
    check_often(hub)
    await healthy(hub, service_name, endpoints, path)
    await shows(hub, service_name, "unhealthy", "unhealthy")
    assert set(endpoints.asked) == {path}


async def test_an_instance_that_drains_or_starts_is_believed(
    hub: RunningHub, service_name: str, endpoints: HealthEndpoints
) -> None:
    check_often(hub)
    about = {"host": "127.0.0.1", "port": endpoints.port, "health_endpoint": "/unready", "lease_seconds": LEASE}
    made = await register(hub.http, service_name, **about)
    await shows(hub, service_name, "starting", "unhealthy")
    await beat(hub.http, made, state="draining")
    await shows(hub, service_name, "draining", "unhealthy")
    await beat(hub.http, made, state="healthy")
    await shows(hub, service_name, "unhealthy", "unhealthy")


async def test_what_may_not_be_asked_is_told_and_leaves_the_state_alone(
    hub: RunningHub, service_name: str, endpoints: HealthEndpoints
) -> None:
    check_often(hub)
    await beat(
        hub.http,
        await register(
            hub.http, service_name, host="169.254.169.254", port=80, health_endpoint="/", lease_seconds=LEASE
        ),
    )
    await shows(hub, service_name, "healthy", None)
    [found] = await listed(hub, service_name)
    assert found["check"]["reason"] == "not asked: 169.254.169.254 is a link-local address"
    url = f"http://localhost:{endpoints.port}/ok"
    about: dict[str, Any] = {"host": "127.0.0.1", "health_endpoint": url, "lease_seconds": LEASE}
    await beat(hub.http, await register(hub.http, service_name, **about))
    await shows(hub, service_name, "healthy", None)
    [found] = await listed(hub, service_name)
    assert found["check"]["reason"] == "not asked: its health_endpoint is on another host than it is itself"
    assert endpoints.requests == []


async def test_a_result_counts_for_the_incarnation_that_it_was_made_for(
    hub: RunningHub, service_name: str, endpoints: HealthEndpoints
) -> None:
    check_often(hub)
    failed = checks(hub, "failed")
    await healthy(hub, service_name, endpoints, "/hang")
    await eventually(lambda: truth(endpoints.open > 0))
    await beat(hub.http, await register(hub.http, service_name, lease_seconds=LEASE))
    await eventually(lambda: truth(checks(hub, "failed") > failed))
    [found] = await listed(hub, service_name)
    assert (found["generation"], found["state"], found["check"]) == (2, "healthy", None)


async def test_every_replica_tells_how_long_endpoints_take(
    servers: Endpoints, start_hub: Start, service_name: str, endpoints: HealthEndpoints
) -> None:
    own = await create_database(servers)
    hub, other = await start_hub(own), await start_hub(own)
    await healthy(hub, service_name, endpoints, "/late")
    await healthy(hub, service_name, endpoints, "/close", "no-answer")
    for replica in (hub, other):
        check_often(replica)

    async def has_samples(replica: RunningHub) -> bool:
        answer = await replica.http.get(f"/api/v1/health/services/{service_name}")
        return answer.status_code == 200 and answer.json()["environments"][0]["latency"]["1m"]["samples"] >= 3

    for replica in (hub, other):
        await eventually(lambda replica=replica: has_samples(replica))  # type: ignore[misc]
        told = (await health(replica, service_name))["environments"][0]["latency"]
        # It waits for so long, and is given up after two seconds.
        assert LATE_SECONDS * 980 <= told["1m"]["p50_ms"] <= told["1m"]["p95_ms"] <= told["1m"]["p99_ms"] <= 2_100
        assert told["1m"]["samples"] <= told["5m"]["samples"] <= told["60m"]["samples"] <= endpoints.asked["/late"]


async def test_endpoints_that_hang_delay_no_other(
    hub: RunningHub, service_name: str, endpoints: HealthEndpoints
) -> None:
    check_often(hub)
    for number in range(60):
        await healthy(hub, f"{service_name}-hangs", endpoints, f"/hang-{number}", f"i{number}")
    await eventually(lambda: truth(endpoints.open >= 50))
    await healthy(hub, service_name, endpoints, "/ok")
    await eventually(lambda: truth(endpoints.asked["/ok"] >= 5))
    assert endpoints.open >= 50
    await shows(hub, service_name, "healthy", "healthy")


@pytest.mark.parametrize("targets", [100, pytest.param(500, marks=pytest.mark.soak)])
async def test_many_targets_have_their_turn_and_not_all_at_once(
    start_hub: Start, service_name: str, endpoints: HealthEndpoints, targets: int
) -> None:
    hub = await start_hub()
    for number in range(targets):
        about = {"host": "127.0.0.1", "port": endpoints.port, "health_endpoint": f"/ok?{number}"}
        await register(hub.http, service_name, f"i{number}", **about, lease_seconds=LEASE)
    await eventually(lambda: truth(checks(hub) >= targets and len(endpoints.asked) == targets), within=60)
    assert endpoints.most_open < targets / 2
    assert {found["check"]["state"] for found in await listed(hub, service_name) if found["check"]} == {"healthy"}


async def test_the_instances_of_a_replica_that_died_are_checked_by_another(
    servers: Endpoints, start_hub: Start, service_name: str, endpoints: HealthEndpoints
) -> None:
    own = await create_database(servers)
    first, second = await start_hub(own), await start_hub(own)
    for number in range(20):
        await healthy(first, service_name, endpoints, f"/ok?{number}", f"i{number}")
    for hub in (first, second):
        check_often(hub)
    both = {hub.service.checks.schedule.own_id for hub in (first, second)}
    await eventually(lambda: truth(all(hub.service.checks.schedule.replicas == both for hub in (first, second))))
    seen = checks(first), checks(second)
    await eventually(lambda: truth(checks(first) > seen[0] and checks(second) > seen[1]))
    await second.stop()
    age = sa.text("UPDATE replicas SET seen_at = seen_at - interval '20 s' WHERE key_id = :id")
    died = {"id": second.service.checks.schedule.own_id}
    await first.service.connections.database.transaction(lambda connection: connection.execute(age, died))
    await eventually(lambda: truth(first.service.checks.schedule.replicas == both - {died["id"]}), within=30)
    endpoints.asked.clear()
    await eventually(lambda: truth(len(endpoints.asked) == 20))


async def test_without_active_checks_nothing_is_asked(
    start_hub: Start, service_name: str, endpoints: HealthEndpoints
) -> None:
    hub = await start_hub(active_checks=False)
    check_often(hub)
    await healthy(hub, service_name, endpoints, "/error")
    await asyncio.sleep(2)
    [found] = await listed(hub, service_name)
    assert (found["state"], found["check"]) == ("healthy", None)
    assert endpoints.requests == []


async def truth(holds: bool) -> bool:
    return holds
