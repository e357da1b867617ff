"""What a real hub shows of a service from its first moment to its last."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from central_hub_client import ConfigManager, InstanceDescription
from central_hub_client.base_service import BaseService
from tests.conftest import RunningHub
from tests.integration.instances import eventually, instance_path, listed, status
from tests.integration.test_status import change
from tests.wire.waiting import until


class Gate:
    """A part that starts and stops when it is let, and says how it is."""

    def __init__(self) -> None:
        self.may_start, self.may_stop = asyncio.Event(), asyncio.Event()
        self.dead: str | None = None
        self.unready: str | None = None
        self.degraded: str | None = None

    async def start(self) -> None:
        await self.may_start.wait()

    async def stop(self) -> None:
        await self.may_stop.wait()

    def why_dead(self) -> str | None:
        return self.dead

    def why_unready(self) -> str | None:
        return self.unready

    def why_degraded(self) -> str | None:
        return self.degraded


async def test_a_service_hears_that_an_operator_drains_it_and_runs_on(
    hub: RunningHub, service_name: str, tmp_path: Path
) -> None:
    await change(hub, service_name, {"batch": 1})
    config = ConfigManager(
        service_name, central_hub_url=hub.url, token=hub.token, cache_dir=tmp_path, config_dir=None, register=True
    )
    async with BaseService(config) as service:

        async def is_healthy() -> bool:
            return [instance["state"] for instance in await listed(hub, service_name)] == ["healthy"]

        await eventually(is_healthy)
        assert not service.is_drained_by_operator
        [instance] = await listed(hub, service_name)
        path = instance_path(service_name, instance["instance_id"])
        for drain in (True, False):
            ordered = await hub.http.put(path, json={"drain": drain}, params={"force": "true"})
            assert ordered.json()["state"] == ("draining" if drain else "healthy")
            config.report_soon()
            await until(lambda drain=drain: service.is_drained_by_operator is drain)  # type: ignore[misc]
            assert service.readiness.ok
            assert not service.draining.is_set()


async def test_the_state_follows_the_life_of_the_service(
    start_hub: Callable[..., Awaitable[RunningHub]], service_name: str, tmp_path: Path
) -> None:
    # At the address that it names nobody is: a check would find that out.
    hub = await start_hub(active_checks=False)
    stored = await change(hub, service_name, {"batch": 1})
    about = InstanceDescription(host="10.0.0.7", port=8080, health_endpoint="/health/ready")
    config = ConfigManager(
        service_name, central_hub_url=hub.url, token=hub.token, cache_dir=tmp_path, config_dir=None, register=about
    )
    service: BaseService[object] = BaseService(config)
    gate = service.add(Gate())

    async def is_shown(*states: str) -> None:
        async def does() -> bool:
            return [instance["state"] for instance in await listed(hub, service_name)] == [*states]

        await eventually(does)

    async def has_applied() -> bool:
        instances = (await status(hub, service_name))["instances"]
        return [instance["applied_revision"] for instance in instances] == [stored["revision"]]

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(service.run())
        # The first heartbeat says it too, not only the registration.
        await eventually(has_applied)
        await is_shown("starting")
        [instance] = await listed(hub, service_name)
        told = {"host": "10.0.0.7", "port": 8080, "health_endpoint": "/health/ready"}
        assert instance.items() >= told.items()
        gate.may_start.set()
        await is_shown("healthy")
        gate.degraded = "the cache is cold"
        await is_shown("degraded")
        gate.unready = "the pool is empty"
        await is_shown("unhealthy")
        gate.unready = gate.degraded = None
        await is_shown("healthy")
        gate.dead = "the pool is broken"
        await is_shown("unhealthy")
        gate.dead = None
        await is_shown("healthy")
        service.drain()
        await is_shown("draining")
        gate.may_stop.set()
        await asyncio.wait_for(asyncio.shield(running), 30)
    assert await listed(hub, service_name) == []
