"""A small trading platform under a hub: its infrastructure is real listening sockets, which tests close and open."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from central_hub.monitoring.infrastructure import Infrastructure, Need
from tests.conftest import RunningHub
from tests.integration.instances import eventually
from tests.integration.watched_targets import Watching, component, listening, state

DEPENDS_ON = {"feature-store": {"clickhouse": Need.REQUIRED, "dragonflydb": Need.OPTIONAL}}
COMPONENTS = ("clickhouse", "dragonflydb", "feature-store", "nats")


@dataclass
class Trading:
    """Components by name, each with the sockets that listen for it."""

    hub: RunningHub
    watching: Watching
    listeners: dict[str, AsyncExitStack]

    async def stop(self, *names: str) -> None:
        """Close the ports of these components, and wait until the hub counts them as down."""
        for name in names:
            await self.listeners[name].aclose()
        await self.are(dict.fromkeys(names, "unhealthy"))

    async def are(self, states: Mapping[str, str]) -> None:
        async def hold() -> bool:
            return all(state(self.hub, name) == expected for name, expected in states.items())

        await eventually(hold)


@asynccontextmanager
async def trading(hub: RunningHub, services: Mapping[str, Mapping[str, Need]]) -> AsyncIterator[Trading]:
    """All components listen, and are known to; `services` depend on them. At the end there is no infrastructure."""
    watching = Watching([hub])
    async with AsyncExitStack() as stack:
        listeners, components = {}, {}
        for name in COMPONENTS:
            listeners[name] = await stack.enter_async_context(AsyncExitStack())
            port = await listeners[name].enter_async_context(listening())
            made = component(name, port, failures=2, successes=1)
            components[name] = replace(made, depends_on=DEPENDS_ON.get(name, {}))
        unprobed: Any = replace(components["nats"], name="kafka", probe=None)
        watching.infrastructure = Infrastructure({**components, "kafka": unprobed}, services)
        hub.service.monitoring.reload()
        found = Trading(hub, watching, listeners)
        await found.are(dict.fromkeys(COMPONENTS, "healthy"))
        yield found
    watching.be([])
