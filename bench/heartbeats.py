"""What a fleet's heartbeats cost one hub: each instance sends one every ten seconds.

Once on connections that stay open, as behind a proxy, each for a few instances; and once as the client library does it:
each has its own, and the hub lets go of what is idle for longer than eight seconds.
"""

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Final

import httpx2
import psutil

from bench.figures import Figure, percentile_ms
from bench.hub import Hub, Servers, running_hub
from bench.load import request

INTERVAL_SECONDS: Final = 10.0
AIM: Final = 0.2
_SERVICES: Final = 20
_CONCURRENT: Final = 32
_SHARING: Final = 5
"""Instances on one connection that is kept: idle for two seconds at most."""


@dataclass(frozen=True)
class _Spent:
    """What a while of heartbeats took. Shares are processor time in parts of one core, whatever else ran meanwhile."""

    answers: int
    seconds: float
    hub_share: float
    postgres_share: float
    latencies: list[float] = field(repr=False)

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


async def measure(servers: Servers, *, instances: int, seconds: float) -> list[Figure]:
    """Register them all, let them send heartbeats evenly spread, and look at the hub's processor time."""
    async with running_hub(servers, max_connections=instances + 500) as hub:
        limit = asyncio.Semaphore(_CONCURRENT)
        heartbeats = await asyncio.gather(*(register(hub.http, number, limit) for number in range(instances)))
        before = hub.cpu_seconds()
        await asyncio.sleep(seconds / 5)
        idle = (hub.cpu_seconds() - before) / (seconds / 5)
        kept = await _spent(hub, heartbeats, seconds, connections=instances // _SHARING)
        own = await _spent(hub, heartbeats, seconds, connections=instances)
        memory = hub.resident_bytes()
    return [
        Figure(
            f"{instances:,} instances, a heartbeat every {INTERVAL_SECONDS:g} s: processor time of one hub",
            f"{kept.hub_share:.0%} of a core at {kept.rate:,.0f}/s, {_each(kept, idle)}",
            f"idle {idle:.0%}, PostgreSQL {kept.postgres_share:.0%}",
            aim=f"< {AIM:.0%}",
            reached=kept.hub_share < AIM,
        ),
        Figure(
            "… each on a connection of its own, which the hub closes before the next",
            f"{own.hub_share:.0%} of a core at {own.rate:,.0f}/s, {_each(own, idle)}",
            f"PostgreSQL {own.postgres_share:.0%}",
        ),
        *(
            Figure(
                f"… answer to a heartbeat, {how}",
                f"p50 {percentile_ms(spent.latencies, 0.5):.1f} ms, p99 {percentile_ms(spent.latencies, 0.99):.1f} ms",
            )
            for how, spent in (("connection kept", kept), ("connecting included", own))
        ),
        Figure("… memory of the hub", f"{memory / 1e6:.0f} MB"),
    ]


def _each(spent: _Spent, idle: float) -> str:
    return f"{(spent.hub_share - idle) / spent.rate * 1000:.2f} ms each"


async def register(http: httpx2.AsyncClient, number: int, limit: asyncio.Semaphore) -> bytes:
    """The heartbeat of a new instance, as it is sent."""
    service, name = f"svc-{number % _SERVICES}", f"{number:06}"
    body = {
        "name": service,
        "instance_id": name,
        "host": "10.0.0.1",
        "port": 8080,
        "version": "1.0.0",
        "labels": {"team": "bench"},
        "lease_seconds": 60,
    }
    async with limit:
        answer = await http.post("/api/v1/discovery/register", json=body)
    answer.raise_for_status()
    made = answer.json()
    told = {
        "service": service,
        "instance_id": name,
        "generation": made["generation"],
        "incarnation_secret": made["incarnation_secret"],
        "state": "healthy",
        "applied": {"epoch": 1, "revision": 1},
    }
    headers = {"Authorization": http.headers["Authorization"]}
    return request("POST", "/api/v1/discovery/heartbeat", headers, json.dumps(told)).encode()


class Connection:
    """One that heartbeats are sent on, one after another; opened anew where the hub has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, heartbeat: bytes) -> None:
        async with self._turn:
            try:
                answer = await self._exchange(heartbeat)
            except (ConnectionError, asyncio.IncompleteReadError):
                # The hub let go of it, idle for too long, at this very moment: as a client does, on a new one.
                self.close()
                answer = await self._exchange(heartbeat)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise AssertionError(f"unexpected answer: {answer[:200]!r}")

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, heartbeat: bytes) -> bytes:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(heartbeat)
        return await reader.readuntil(b"}")


async def _spent(hub: Hub, heartbeats: list[bytes], seconds: float, *, connections: int) -> _Spent:
    opened = [Connection(hub.port) for _ in range(connections)]
    await send_evenly(heartbeats, opened, INTERVAL_SECONDS)  # a round of all: connections, caches, code, pages
    hub_before, postgres_before, began = hub.cpu_seconds(), _postgres_seconds(), time.perf_counter()
    latencies = await send_evenly(heartbeats, opened, seconds)
    elapsed = time.perf_counter() - began
    spent = _Spent(
        answers=len(latencies),
        seconds=elapsed,
        hub_share=(hub.cpu_seconds() - hub_before) / elapsed,
        postgres_share=(_postgres_seconds() - postgres_before) / elapsed,
        latencies=latencies,
    )
    for connection in opened:
        connection.close()
    return spent


async def send_evenly(heartbeats: list[bytes], connections: list[Connection], seconds: float) -> list[float]:
    """Send heartbeats in turn, evenly, whatever the answers take; how long each answer took."""
    rate = len(heartbeats) / INTERVAL_SECONDS
    latencies: list[float] = []

    async def one(connection: Connection, heartbeat: bytes) -> None:
        began = time.perf_counter()
        await connection.send(heartbeat)
        latencies.append(time.perf_counter() - began)

    under_way: list[asyncio.Task[None]] = []
    began = time.perf_counter()
    for number, (connection, heartbeat) in enumerate(
        zip(itertools.cycle(connections), itertools.cycle(heartbeats), strict=False)
    ):
        due = began + number / rate
        if due > began + seconds:
            break
        if (delay := due - time.perf_counter()) > 0:
            await asyncio.sleep(delay)
        under_way.append(asyncio.create_task(one(connection, heartbeat)))
        if number % 100 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*under_way)
    return latencies


def _postgres_seconds() -> float:
    """The processor time of all processes of the PostgreSQL that the bench started."""
    times = [
        process.cpu_times() for process in psutil.Process().children(recursive=True) if process.name() == "postgres"
    ]
    return sum(time.user + time.system for time in times)
