"""What a fleet's heartbeats cost one hub: each instance sends one every ten seconds, on a connection of its own."""

import asyncio
import itertools
import json
import time
from typing import Final

from bench.figures import Figure
from bench.hub import Hub, Servers, running_hub
from bench.load import request

INTERVAL_SECONDS: Final = 10.0
_SERVICES: Final = 20
_CONCURRENT: Final = 32


async def measure(servers: Servers, *, instances: int, seconds: float) -> list[Figure]:
    """Register them all, let them send heartbeats evenly spread, and look at the hub's processor time."""
    async with running_hub(servers) as hub:
        limit = asyncio.Semaphore(_CONCURRENT)
        began = time.perf_counter()
        heartbeats = await asyncio.gather(*(_register(hub, number, limit) for number in range(instances)))
        registering = time.perf_counter() - began
        rate = instances / INTERVAL_SECONDS
        await _send(hub, heartbeats, rate, seconds / 5)  # warm: code, caches, pages
        idle = await _idle_share(hub, seconds / 5)
        before, began = hub.cpu_seconds(), time.perf_counter()
        latencies = await _send(hub, heartbeats, rate, seconds)
        elapsed = time.perf_counter() - began
        share = (hub.cpu_seconds() - before) / elapsed
        memory = hub.resident_bytes()
    achieved = len(latencies) / elapsed
    return [
        Figure(
            f"{instances:,} instances, a heartbeat every {INTERVAL_SECONDS:g} s: processor time of one hub",
            f"{share:.0%} of a core at {achieved:,.0f}/s, {(share - idle) / achieved * 1000:.2f} ms each",
            f"idle {idle:.0%}",
        ),
        Figure(
            "… answer to a heartbeat, connecting included",
            f"p50 {_percentile(latencies, 0.5):.1f} ms, p99 {_percentile(latencies, 0.99):.1f} ms",
        ),
        Figure("… registrations", f"{instances / registering:,.0f}/s"),
        Figure("… memory of the hub", f"{memory / 1e6:.0f} MB"),
    ]


def _percentile(seconds: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(seconds)[int((len(seconds) - 1) * share)] * 1000


async def _register(hub: Hub, number: int, limit: asyncio.Semaphore) -> bytes:
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
        answer = await hub.http.post("/api/v1/discovery/register", json=body)
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
    headers = {**hub.headers, "Connection": "close"}
    return request("POST", "/api/v1/discovery/heartbeat", headers, json.dumps(told)).encode()


async def _send(hub: Hub, heartbeats: list[bytes], rate: float, seconds: float) -> list[float]:
    """Send them in turn, evenly, whatever the answers take; how long each answer took."""
    latencies: list[float] = []
    under_way: set[asyncio.Task[None]] = set()

    async def one(payload: bytes) -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(payload)
        answer = await reader.read()
        writer.close()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise AssertionError(f"unexpected answer: {answer[:200]!r}")
        latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    for number, payload in enumerate(itertools.cycle(heartbeats)):
        due = began + number / rate
        if due > began + seconds:
            break
        if (delay := due - time.perf_counter()) > 0:
            await asyncio.sleep(delay)
        task = asyncio.create_task(one(payload))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*under_way)
    return latencies


async def _idle_share(hub: Hub, seconds: float) -> float:
    before = hub.cpu_seconds()
    await asyncio.sleep(seconds)
    return (hub.cpu_seconds() - before) / seconds
