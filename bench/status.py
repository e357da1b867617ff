"""What it takes to say how far a change has got in a large service: all of its instances in one answer."""

import asyncio
import time
from typing import Final

from bench.figures import Figure
from bench.hub import Hub, Servers, running_hub

AIM_MS: Final = 50
_SERVICE: Final = "large"
_CONCURRENT: Final = 32
_KEYS: Final = 20


async def measure(servers: Servers, *, instances: int, requests: int) -> list[Figure]:
    """Register them all, let each report what it runs and what it does not use, then ask again and again."""
    async with running_hub(servers) as hub:
        await hub.put(_SERVICE, {"section": {f"key_{number}": number for number in range(_KEYS)}})
        limit = asyncio.Semaphore(_CONCURRENT)
        await asyncio.gather(*(_join(hub, number, limit) for number in range(instances)))
        path = f"/api/v1/config/status/{_SERVICE}"
        latencies, size = [], 0
        before, began = hub.cpu_seconds(), time.perf_counter()
        for _ in range(requests):
            asked = time.perf_counter()
            answer = await hub.http.get(path)
            latencies.append((time.perf_counter() - asked) * 1000)
            size = len(answer.content)
        elapsed, busy = time.perf_counter() - began, hub.cpu_seconds() - before
        told = answer.json()
    if told["states"]["applied"] != instances:
        raise AssertionError(f"unexpected answer: {told['states']}")
    latencies.sort()
    p50, p99 = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    return [
        Figure(
            f"status of {instances:,} instances, one answer of {size / 1e6:.1f} MB",
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms",
            f"{busy / requests * 1000:.0f} ms of processor time each, {requests / elapsed:.0f}/s",
            aim=f"p99 <= {AIM_MS} ms",
            reached=p99 <= AIM_MS,
        )
    ]


async def _join(hub: Hub, number: int, limit: asyncio.Semaphore) -> None:
    """Register an instance that hides a key which did not change, and reads most but not all of the others."""
    body = {"name": _SERVICE, "instance_id": f"{number:06}", "version": "1.0.0", "lease_seconds": 3600}
    async with limit:
        answer = await hub.http.post("/api/v1/discovery/register", json=body)
        answer.raise_for_status()
        made = answer.json()
        told = {
            "service": _SERVICE,
            "instance_id": body["instance_id"],
            "generation": made["generation"],
            "incarnation_secret": made["incarnation_secret"],
            "state": "healthy",
            "applied": {"epoch": 1, "revision": 1},
            "report": {
                "shadowed": ["/elsewhere/key"],
                "unread": [f"/section/key_{key}" for key in range(3)],
                "defaulted": [f"/section/default_{key}" for key in range(_KEYS)],
                "local_keys": ["/elsewhere/key"],
            },
        }
        (await hub.http.post("/api/v1/discovery/heartbeat", json=told)).raise_for_status()
