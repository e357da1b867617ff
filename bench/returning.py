"""How long it takes until all instances are back that come at once, and what the others notice of it."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import httpx2

from bench.figures import Figure, percentile_ms
from bench.heartbeats import Connection, register, send_evenly
from bench.hub import Servers, running_hub
from bench.storm import Landed, Storm, play

AIM_SECONDS: Final = 60.0
_OTHERS: Final = 200
"""Instances that were there all along, a heartbeat every ten seconds each, on connections that are kept."""
_CONNECTIONS: Final = 40
_READS_EVERY_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Returned:
    """What came of those who came back, and how long answers to the others took meanwhile, in seconds."""

    landed: Landed
    heartbeats: list[float] = field(repr=False)
    reads: list[float] = field(repr=False)


async def observe(http: httpx2.AsyncClient, port: int, *, instances: int, service: str) -> Returned:
    """Let them come to a hub that has others already, and list and route all the while."""
    limit = asyncio.Semaphore(8)
    others = await asyncio.gather(*(register(http, number, limit) for number in range(_OTHERS)))
    connections = [Connection(port) for _ in range(_CONNECTIONS)]
    await send_evenly(others, connections, 1.0)
    headers = {"Authorization": http.headers["Authorization"]}
    playing = asyncio.create_task(play(Storm(port, headers, instances, service)))
    heartbeats: list[float] = []
    reading = asyncio.create_task(_read(http, playing))
    while not playing.done():
        heartbeats += await send_evenly(others, connections, 1.0)
    for connection in connections:
        connection.close()
    return Returned(await playing, heartbeats, await reading)


async def measure(servers: Servers, *, instances: int) -> list[Figure]:
    """Let that many come at once, to a hub with the limits that it has by itself."""
    async with running_hub(servers) as hub:
        before = hub.cpu_seconds()
        returned = await observe(hub.http, hub.port, instances=instances, service="back")
        spent = hub.cpu_seconds() - before
    landed = returned.landed
    return [
        Figure(
            f"{instances:,} instances register at once: all are back after",
            f"{landed.seconds:.1f} s, half of them after {landed.half_seconds:.1f} s",
            ", ".join(f"{count:,} times {answer}" for answer, count in sorted(landed.answers.items())),
            aim=f"< {AIM_SECONDS:g} s",
            reached=landed.seconds < AIM_SECONDS,
        ),
        Figure("… processor time of the hub meanwhile", f"{spent:.1f} s"),
        *(
            Figure(
                f"… meanwhile {what}",
                f"p50 {percentile_ms(seconds, 0.5):.1f} ms, p99 {percentile_ms(seconds, 0.99):.1f} ms,"
                f" slowest {max(seconds) * 1000:.0f} ms",
            )
            for what, seconds in (
                ("heartbeats of others", returned.heartbeats),
                ("routing to one of the others", returned.reads),
            )
        ),
    ]


async def _read(http: httpx2.AsyncClient, playing: "asyncio.Task[Landed]") -> list[float]:
    latencies: list[float] = []
    while not playing.done():
        began = time.perf_counter()
        answer = await http.get("/api/v1/discovery/svc-0/route")
        answer.raise_for_status()
        latencies.append(time.perf_counter() - began)
        await asyncio.sleep(_READS_EVERY_SECONDS)
    return latencies
