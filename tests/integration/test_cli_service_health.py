"""`central-hub health` as a program, against a real hub."""

from tests.conftest import RunningHub
from tests.integration.instances import beat, eventually, listed, register
from tests.integration.test_cli import Run, cli
from tests.wire.health_endpoints import health_endpoints

__all__ = ["cli"]


async def test_services_are_shown_with_their_reason(cli: Run, hub: RunningHub, service_name: str) -> None:
    assert "no instance is registered" in (await cli("health")).err
    for name, state in (("a", "healthy"), ("b", "unhealthy")):
        await beat(hub.http, await register(hub.http, service_name, name), state=state)
    await register(hub.http, service_name, environment="staging")
    shown = await cli("health")
    assert shown.code == 0, shown.err
    rows = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert rows[1:] == [
        f"{service_name} default degraded 1 of 2 unhealthy",
        f"{service_name} staging starting none can be called yet: 1 starting",
    ]
    found = (await cli("health", "-e", "staging", "--json")).json
    assert [(entry["service"], entry["state"]) for entry in found] == [(service_name, "starting")]


async def test_of_one_service_every_instance_is_shown(cli: Run, hub: RunningHub, service_name: str) -> None:
    hub.service.checks.schedule.interval_seconds = 0.2
    async with health_endpoints() as endpoints:
        about = {"host": "127.0.0.1", "port": endpoints.port, "lease_seconds": 3600}
        await beat(hub.http, await register(hub.http, service_name, "a", **about, health_endpoint="/ok"))
        await beat(hub.http, await register(hub.http, service_name, "b", **about, health_endpoint="/error"))

        async def is_known() -> bool:
            return [found["state"] for found in await listed(hub, service_name)] == ["healthy", "unhealthy"]

        await eventually(is_known)
        shown = await cli("health", service_name)
        told = (await cli("health", service_name, "--json")).json
    assert shown.code == 0, shown.err
    rows = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert rows[1].startswith(f"{service_name} default degraded 1 of 2 unhealthy")
    assert rows[4].startswith("default a healthy healthy in ")
    assert rows[5].startswith("default b unhealthy its health endpoint fails: answered 500 answered 500 20")
    assert [instance["check"]["state"] for instance in told["instances"]] == ["healthy", "unhealthy"]
    assert (await cli("health", f"{service_name}-x")).code == 1
    assert (await cli("health", "_global")).code == 2
