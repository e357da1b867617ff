"""Infrastructure made of real listening sockets, and a small real probe: whether one can be connected to."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.infrastructure import Component, Infrastructure, Maintenance, ProbeSettings, Section
from tests.conftest import RunningHub

INFRASTRUCTURE = "/api/v1/infrastructure"


def component(name: str, port: int, *, interval: float = 0.1, **settings: Any) -> Component:
    probe = ProbeSettings("tcp", interval_seconds=interval, timeout_seconds=settings.pop("timeout", 0.5), **settings)
    return Component(name, Section.DATABASES, "tcp", {"host": "127.0.0.1", "port": port}, probe)


async def connect(component: Component) -> Probed:
    """Probe by connecting."""
    began = time.perf_counter()
    try:
        _, writer = await asyncio.open_connection(component.connection["host"], component.connection["port"])
    except OSError:
        return Probed(False, "the connection was refused")
    latency_ms = (time.perf_counter() - began) * 1000
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Probed(True, None, latency_ms)


@dataclass
class Watching:
    """Hubs that watch one infrastructure, and how often each component was asked by which of them."""

    hubs: list[RunningHub]
    asked: list[tuple[str, str]] = field(default_factory=list)
    infrastructure: Infrastructure = field(default_factory=Infrastructure)
    unmeasured: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for hub in self.hubs:
            hub.service.monitoring.infrastructure = lambda: self.infrastructure
            hub.service.monitoring.prober.ask = self._asking(hub.service.monitoring.own_id)

    def be(self, components: Iterable[Component], *maintenance: Maintenance) -> None:
        """Another infrastructure, at all hubs."""
        self.infrastructure = Infrastructure({each.name: each for each in components}, maintenance=maintenance)
        for hub in self.hubs:
            hub.service.monitoring.reload()

    def askers(self, name: str) -> set[str]:
        return {asker for asked, asker in self.asked if asked == name}

    def _asking(self, own_id: str) -> Any:
        async def ask(component: Component) -> Probed:
            self.asked.append((component.name, own_id))
            if component.name in self.unmeasured:
                return Probed(None, "no credential")
            return await connect(component)

        return ask


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[int]:
    """A port that takes connections, until the block ends."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def state(hub: RunningHub, name: str) -> str | None:
    """How a hub counts a target."""
    target = hub.service.monitoring.targets.get(name)
    return None if target is None else str(target.state)


async def truth(holds: bool) -> bool:
    """For `eventually`, of what is known at once."""
    return holds
