"""What it takes to say how far a change has got in a large service: all of its instances in one answer."""

import asyncio
from typing import Final

from bench.figures import Figure
from bench.hub import Hub, Servers, running_hub
from bench.load import Load, request
from bench.reads import drive

AIM_MS: Final = 50
_SERVICE: Final = "large"
_CONCURRENT: Final = 32
_KEYS: Final = 20


async def measure(servers: Servers, *, instances: int, seconds: float) -> list[Figure]:
    """Register them all, let each report what it runs and what it does not use, then ask again and again."""
    async with running_hub(servers) as hub:
        await hub.put(_SERVICE, {"section": {f"key_{number}": number for number in range(_KEYS)}})
        limit = asyncio.Semaphore(_CONCURRENT)
        await asyncio.gather(*(_join(hub, number, limit) for number in range(instances)))
        path = f"/api/v1/config/status/{_SERVICE}"
        answer = await hub.http.get(path)
        before = hub.cpu_seconds()
        seen = await drive(Load(hub.port, [request("GET", path, hub.headers)], seconds, 200))
        busy_ms = (hub.cpu_seconds() - before) / seen.answers * 1000
    if answer.json()["states"]["applied"] != instances:
        raise AssertionError(f"unexpected answer: {answer.json()['states']}")
    return [
        Figure(
            f"status of {instances:,} instances, {len(answer.content) / 1e6:.1f} MB",
            f"p50 {seen.p50_ms:.0f} ms, p99 {seen.p99_ms:.0f} ms",
            f"{busy_ms:.0f} ms of processor time each",
            aim=f"p99 <= {AIM_MS} ms",
            reached=seen.p99_ms <= AIM_MS,
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
