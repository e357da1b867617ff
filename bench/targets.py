"""What it takes to probe hundreds of targets, also while many of them hang: the hub's own loops, results and writes."""

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final

from structlog.testing import capture_logs

from bench.figures import Figure, percentile_ms
from bench.hub import Servers
from bench.server import free_port
from central_hub.connections.database import Database
from central_hub.connections.health_probe import Probed
from central_hub.monitoring.infrastructure import Component, Infrastructure, ProbeSettings, Section
from central_hub.monitoring.manager import MonitoringManager
from central_hub.process import migrate
from central_hub.settings import HubSettings
from central_hub.store_clock import StoreClock

INTERVAL_SECONDS: Final = 10.0
TIMEOUT_SECONDS: Final = 3.0
AIM_SHARE: Final = 0.2
"""Of a core."""

# A process of its own: what it takes to answer is not what is measured. `h` hangs, whatever else is greeted.
_TARGETS: Final = """
import asyncio, sys
async def serve(reader, writer):
    try:
        if await reader.read(1) == b"h":
            await asyncio.sleep(3600)
        writer.write(b"+")
        await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1000)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def measure(servers: Servers, *, targets: int, seconds: float) -> list[Figure]:
    """Probe them all every ten seconds, with all of them well, and with a fifth of them hanging."""
    figures = []
    async with _answering() as port:
        for hanging in (0, targets // 5):
            with capture_logs():  # a line for every target that hangs says nothing of what it takes
                busy, late = await _watch(servers, port, targets=targets, hanging=hanging, seconds=seconds)
            what = f"… {hanging} of them hanging" if hanging else f"{targets} targets probed every 10 s"
            figures.append(
                Figure(
                    f"{what}: processor time",
                    f"{busy:.0%} of a core",
                    f"the others are probed p99 {late:.0f} ms late" if hanging else f"p99 {late:.0f} ms late",
                    aim=f"< {AIM_SHARE:.0%}",
                    reached=busy < AIM_SHARE,
                )
            )
    return figures


async def _watch(servers: Servers, port: int, *, targets: int, hanging: int, seconds: float) -> tuple[float, float]:
    """The share of a core that it takes, and how much later than it should a target that is well is probed."""
    asked: dict[str, list[float]] = {}

    async def ask(component: Component) -> Probed:
        asked.setdefault(component.name, []).append(time.monotonic())
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(component.connection["says"].encode())
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await reader.readexactly(1)
        except TimeoutError:
            return Probed(False, "no answer")
        finally:
            writer.close()
        return Probed(True, None, (time.perf_counter() - began) * 1000)

    running, owner = await servers.new_database()
    await migrate(HubSettings(database_url=running, migration_database_url=owner))
    settings = ProbeSettings("tcp", interval_seconds=INTERVAL_SECONDS, timeout_seconds=TIMEOUT_SECONDS)
    components = {
        name: Component(name, Section.DATABASES, "tcp", {"says": name[0]}, settings)
        for name in (f"{'h' if number < hanging else 't'}{number:04}" for number in range(targets))
    }
    database = Database(running)
    manager = MonitoringManager(
        database,
        secrets.token_hex(4),
        StoreClock(),
        infrastructure=lambda: Infrastructure(components),
        why_refused=lambda: None,
        ask=ask,
        on_probed=lambda _name, _probed: None,
        on_transition=lambda _transition: None,
    )
    await manager.catch_up()
    task = asyncio.create_task(manager.run())
    try:
        await asyncio.sleep(INTERVAL_SECONDS / 2)  # all have begun
        before, began = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        busy = (time.process_time() - before) / (time.monotonic() - began)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()
    # An interval is at most a tenth longer than it is written.
    longest = 1.1 * INTERVAL_SECONDS
    gaps = [
        max(0.0, after - before - longest)
        for name, times in asked.items()
        if name.startswith("t")
        for before, after in pairwise(times)
    ]
    return busy, percentile_ms(gaps, 0.99) if gaps else 0.0


@asynccontextmanager
async def _answering() -> AsyncIterator[int]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TARGETS, str(port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield port
    finally:
        process.terminate()
        await process.wait()
