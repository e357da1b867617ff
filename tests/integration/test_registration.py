"""The client's side of the registry, against a real hub: register, report, survive, give way, say goodbye."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from central_hub_client import client_settings, registration
from central_hub_client.errors import HubUnreachable
from central_hub_client.hub_api import HubApi
from central_hub_client.registration import InstanceDescription, Registration
from central_hub_client.report import MAX_KEYS, InstanceReport, Rejection
from central_hub_client.wire import HealthState, Position, content_hash
from tests.conftest import RunningHub
from tests.faults.harness import free_port
from tests.integration.instances import eventually, instance_path, listed, register, status
from tests.integration.test_status import change
from tests.wire.waiting import until

SCHEMA = {"type": "object", "properties": {"batch": {"type": "integer", "minimum": -(2**63)}}}


@dataclass
class Service:
    """A service instance with a report that tests may change."""

    registration: Registration
    report: InstanceReport


@asynccontextmanager
async def running_service(
    url: str, token: str, service: str, instance_id: str = "one", report: InstanceReport | None = None, **more: Any
) -> AsyncIterator[Service]:
    settings = client_settings.resolve(
        hub_url=url,
        token=token,
        environment=more.pop("environment", None),
        nats_url=None,
        enable_nats=False,
        cache_dir=None,
        instance_id=None,
        environ={},
    )
    api = HubApi(settings)
    api.open(instance_id)
    running = Service(
        Registration(api, service, settings.environment, instance_id, lambda: running.report, **more),
        report or InstanceReport(),
    )
    running.registration.start()
    try:
        yield running
    finally:
        await running.registration.stop()
        await api.close()


async def test_an_instance_registers_and_reports_what_it_runs(hub: RunningHub, service_name: str) -> None:
    latest = await change(hub, service_name, {"batch": 1})
    description = InstanceDescription(host="10.0.0.1", port=80, version="1.2", labels={"a": "b"}, capabilities=("x",))
    report = InstanceReport(applied=Position(latest["epoch"], latest["revision"]), unread=("/batch",))
    async with running_service(hub.url, hub.token, service_name, report=report, description=description) as service:
        await until(lambda: service.registration.is_registered)

        async def is_applied() -> bool:
            return (await status(hub, service_name))["converged"] is True

        await eventually(is_applied)
        [found] = await listed(hub, service_name)
        told = {"host": "10.0.0.1", "port": 80, "version": "1.2", "labels": {"a": "b"}, "capabilities": ["x"]}
        assert found.items() >= (told | {"state": "healthy"}).items()
        [instance] = (await status(hub, service_name))["instances"]
        assert instance["unread_keys"] == ["/batch"]
    assert await listed(hub, service_name) == []


async def test_news_is_told_long_before_the_next_heartbeat(hub: RunningHub, service_name: str) -> None:
    latest = await change(hub, service_name, {"batch": 1})
    async with running_service(hub.url, hub.token, service_name, lease_seconds=3600) as service:
        await until(lambda: service.registration.is_registered)
        position = Position(latest["epoch"], latest["revision"])
        rejection = Rejection(position, "/batch: too small")
        service.report = replace(service.report, rejected=rejection, state=HealthState.UNHEALTHY)
        service.registration.report_soon()

        async def is_told() -> bool:
            [found] = (await status(hub, service_name))["instances"]
            return found.get("error") == "/batch: too small"

        await eventually(is_told)
        assert [found["state"] for found in await listed(hub, service_name)] == ["unhealthy"]


async def test_an_instance_that_the_hub_does_not_know_registers_again(hub: RunningHub, service_name: str) -> None:
    async with running_service(hub.url, hub.token, service_name, report=InstanceReport(unread=("/a",))) as service:
        await until(lambda: service.registration.is_registered)
        assert (await hub.http.delete(instance_path(service_name))).status_code == 204
        service.registration.report_soon()

        async def is_back() -> bool:
            return [found["generation"] for found in await listed(hub, service_name)] == [2]

        await eventually(is_back)
        latest = await change(hub, service_name, {"a": 1})

        async def is_reported() -> bool:
            return [found["unread_keys"] for found in (await status(hub, service_name))["instances"]] == [["/a"]]

        await eventually(is_reported)
        assert latest["revision"] > 0


async def test_a_second_process_of_the_same_name_takes_over(
    hub: RunningHub, service_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "central_hub_client"):
        async with running_service(hub.url, hub.token, service_name) as first:
            await until(lambda: first.registration.is_registered)
            async with running_service(hub.url, hub.token, service_name) as second:
                await until(lambda: second.registration.is_registered)
                first.registration.report_soon()
                await until(lambda: first.registration.is_fenced)
                assert "another process runs as this instance" in caplog.text
                await first.registration.stop()
                # Its goodbye must not take the successor along.
                assert [found["generation"] for found in await listed(hub, service_name)] == [2]
                assert second.registration.is_registered


async def test_an_instance_is_not_fenced_by_an_attempt_of_its_own_that_came_late(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = HubApi.tell
    attempts: list[tuple[Any, ...]] = []

    async def tell_the_first_late(api: HubApi, method: str, path: str, *arguments: Any) -> Any:
        if path != "/discovery/register":
            return await tell(api, method, path, *arguments)
        attempts.append((method, path, *arguments))
        if len(attempts) == 1:
            raise HubUnreachable("no answer within 10 s")
        answer = await tell(api, method, path, *arguments)
        if len(attempts) == 2:
            await tell(api, *attempts[0])  # the hub comes round to it
        return answer

    monkeypatch.setattr(HubApi, "tell", tell_the_first_late)
    async with running_service(hub.url, hub.token, service_name) as service:

        async def is_healthy() -> bool:
            found = await listed(hub, service_name)
            return [(each["state"], each["generation"]) for each in found] == [("healthy", 3)]

        await eventually(is_healthy)
        assert not service.registration.is_fenced
        # Whoever takes over later is another process.
        monkeypatch.setattr(registration, "DOUBT_SECONDS", 0.0)
        service.registration._in_doubt_until = 0.0
        await register(hub.http, service_name)
        service.registration.report_soon()
        await until(lambda: service.registration.is_fenced)


async def test_the_goodbye_of_an_old_process_leaves_the_new_one(hub: RunningHub, service_name: str) -> None:
    async with running_service(hub.url, hub.token, service_name) as old:
        await until(lambda: old.registration.is_registered)
        await register(hub.http, service_name)  # before the old one has heard of it
    assert [found["generation"] for found in await listed(hub, service_name)] == [2]


async def test_the_schema_is_sent_only_where_the_hub_has_not_got_it(hub: RunningHub, service_name: str) -> None:
    async def schemas_sent() -> float:
        series = 'central_hub_requests_total{method="PUT",route="/discovery/{service}/{instance_id}",status="200"}'
        for line in (await hub.http.get("/metrics")).text.splitlines():
            if line.startswith(series):
                return float(line.rpartition(" ")[2])
        return 0.0

    before = await schemas_sent()
    report = InstanceReport(schema=SCHEMA, schema_hash=content_hash(SCHEMA), unread=("/x",))

    async def is_told() -> bool:
        told = (await status(hub, service_name))["instances"]
        return bool(told) and all(found["unread_keys"] == ["/x"] for found in told)

    async with running_service(hub.url, hub.token, service_name, "a", report) as first:
        await until(lambda: first.registration.is_registered)
        await eventually(is_told)
        assert await schemas_sent() == before + 1
        async with running_service(hub.url, hub.token, service_name, "b", report) as second:
            await until(lambda: second.registration.is_registered)
            await eventually(is_told)
            assert await schemas_sent() == before + 1
            told = (await status(hub, service_name))["instances"]
            assert [found["schema"] for found in told] == [content_hash(SCHEMA)] * 2


async def test_an_instance_waits_for_a_hub_that_is_not_there_yet(
    start_hub: Callable[..., Awaitable[RunningHub]], service_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    async with running_service(f"http://127.0.0.1:{port}", "t" * 40, service_name) as service:
        await until(lambda: "code=unreachable" in caplog.text)
        hub = await start_hub(port=port)
        # The token is not the hub's: that is told, and tried again, and never ends the service.
        await until(lambda: "code=unauthenticated" in caplog.text, within=30)
        assert not service.registration.is_registered
        assert await listed(hub, service_name) == []


async def test_a_token_without_the_verb_is_told_once_and_tried_again(
    hub: RunningHub, service_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = await hub.new_token(verbs=["read"])
    async with running_service(hub.url, token, service_name) as service:
        await until(lambda: "does not have the verb register" in caplog.text)
        assert not service.registration.is_registered


async def test_a_report_that_cannot_be_made_is_logged_and_asked_for_again(
    hub: RunningHub, service_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_service(hub.url, hub.token, service_name) as service:
        await until(lambda: service.registration.is_registered)
        service.report = None  # type: ignore[assignment]
        service.registration.report_soon()
        await until(lambda: "the heartbeat failed" in caplog.text)
        service.report = InstanceReport(unread=("/x",))

        async def is_told() -> bool:
            return [found["unread_keys"] for found in (await status(hub, service_name))["instances"]] == [["/x"]]

        await eventually(is_told)


async def test_a_name_that_the_hub_would_not_take_is_made_to_fit(hub: RunningHub, service_name: str) -> None:
    async with running_service(hub.url, hub.token, service_name, "Bob's Mac (1)") as service:
        await until(lambda: service.registration.is_registered)
        assert [found["instance_id"] for found in await listed(hub, service_name)] == ["i-Bob-s-Mac--1-"]


async def test_a_report_is_cut_to_what_the_hub_takes(hub: RunningHub, service_name: str) -> None:
    many = tuple(f"/k{number:05}" for number in range(MAX_KEYS + 50))
    report = InstanceReport(
        unknown=many,
        shadowed=("/" + "x" * 600, "/b", "/b", "/a"),
        rejected=Rejection(Position(1, 10**9), "y" * 5000),
    )
    await change(hub, service_name, {"a": 1})
    async with running_service(hub.url, hub.token, service_name, report=report):

        async def is_told() -> bool:
            told = (await status(hub, service_name))["instances"]
            return [len(found["unknown_keys"]) for found in told] == [MAX_KEYS]

        await eventually(is_told)
        [found] = (await status(hub, service_name))["instances"]
        assert found["shadowed_keys"] == ["/a", "/b"]
        assert found["error"] == "y" * 2000


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "central_hub_client"):
        yield


async def test_stopping_is_quick_where_nobody_answers(service_name: str) -> None:
    async with running_service("http://127.0.0.1:1", "t", service_name):
        await asyncio.sleep(0)
