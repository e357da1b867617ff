"""Instances that speak to a hub over HTTP as any client may."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import sqlalchemy as sa

from tests.conftest import RunningHub

AGREED_WITHIN = 2.0
"""The promise: two replicas agree within this."""
PATIENCE = 15.0
"""For what is not promised: a busy machine may take its time."""


def instance_path(service: str, instance_id: str = "one") -> str:
    return f"/api/v1/discovery/{service}/{instance_id}"


@dataclass(frozen=True)
class Incarnation:
    """What an instance holds after it registered."""

    service: str
    instance_id: str
    generation: int
    secret: str

    def heartbeat(self, **told: Any) -> dict[str, Any]:
        """The body of a heartbeat."""
        return {
            "service": self.service,
            "instance_id": self.instance_id,
            "generation": self.generation,
            "incarnation_secret": self.secret,
        } | told


async def register(http: httpx2.AsyncClient, service: str, instance_id: str = "one", **told: Any) -> Incarnation:
    answer = await http.post("/api/v1/discovery/register", json={"name": service, "instance_id": instance_id} | told)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    return Incarnation(service, made["instance_id"], made["generation"], made["incarnation_secret"])


async def beat(http: httpx2.AsyncClient, incarnation: Incarnation, **told: Any) -> httpx2.Response:
    return await http.post("/api/v1/discovery/heartbeat", json=incarnation.heartbeat(**told))


async def listed(hub: RunningHub, service: str, **filters: Any) -> list[dict[str, Any]]:
    answer = await hub.http.get(f"/api/v1/discovery/{service}", params=filters)
    assert answer.status_code == 200, answer.text
    instances: list[dict[str, Any]] = answer.json()["instances"]
    return instances


async def status(hub: RunningHub, service: str, **query: Any) -> dict[str, Any]:
    answer = await hub.http.get(f"/api/v1/config/status/{service}", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def let_time_pass(hub: RunningHub, service: str, seconds: float) -> None:
    """Leave a service's instances as if they had been silent for so long."""
    await hub.service.coordination.write()
    age = {"service": service, "seconds": seconds}
    await hub.service.connections.database.transaction(lambda connection: connection.execute(_AGE, age))
    await hub.service.coordination.catch_up()


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = PATIENCE) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, f"it did not happen within {within:g} s"
        await asyncio.sleep(0.05)


_AGE = sa.text("""
UPDATE instances SET
    registered_at = registered_at - :seconds * interval '1 second',
    seen_at = seen_at - :seconds * interval '1 second',
    leased_at = leased_at - :seconds * interval '1 second',
    change = change + 1,
    changed_in = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
WHERE service = :service
""")
