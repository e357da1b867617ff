"""Tells of the fleet's changes: wakes who watches at this replica, and publishes on the bus what it learnt first.

A change after a quiet while is told at once, and those that follow soon after it together. Nothing waits for the bus,
and what it does not take is not told there again: whoever listens asks the hub now and then.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Final

import orjson
import structlog

from central_hub.audit.chain import rfc3339
from central_hub.connections.bus import Bus
from central_hub.coordination.listing import described, gone
from central_hub.coordination.manager import TURN_SECONDS, CoordinationManager
from central_hub.security.signing import Signer
from central_hub.storage.instance_values import Key
from central_hub.waiters import Waiters
from central_hub_client.wire import MAX_PUSHED_BYTES, instances_subject

PACE_SECONDS: Final = 0.2
"""A thousand watchers are not woken more often than this, however many instances come and go."""

log = structlog.get_logger()


class FleetAnnouncer:
    """Announces changed instances. `waiters` are those who watch services at this replica."""

    def __init__(
        self, coordination: CoordinationManager, hub_id: Callable[[], str], signer: Signer, bus: Bus | None
    ) -> None:
        """`bus` is None where none is configured: then only the watchers are told."""
        self.waiters = Waiters()
        self._coordination = coordination
        self._hub_id = hub_id
        self._signer = signer
        self._bus = bus
        self._to_wake = asyncio.Event()
        self._to_publish = asyncio.Event()
        coordination.listen(self._to_wake.set)
        coordination.listen(self._to_publish.set)

    async def wake_watchers(self) -> None:
        """Wake whoever watches what has changed, until cancelled."""
        woken = 0
        while True:
            await self._to_wake.wait()
            self._to_wake.clear()
            changes = self._coordination.changes
            for service in changes.services_since(woken):
                self.waiters.wake(service)
            woken = changes.last
            await asyncio.sleep(PACE_SECONDS)

    async def publish(self) -> None:
        """Publish what this replica has learnt first, of each service once a turn at most, until cancelled."""
        published: dict[str, float] = {}
        news = self._coordination.news
        while True:
            try:
                async with asyncio.timeout(PACE_SECONDS if news.services else None):
                    await self._to_publish.wait()
            except TimeoutError:
                pass
            self._to_publish.clear()
            news.gather()
            now = time.monotonic()
            published = {service: at for service, at in published.items() if now - at < TURN_SECONDS}
            due = [service for service in news.services if service not in published]
            published |= dict.fromkeys(due, now)
            for service in due:
                try:
                    await self._publish(news.take(service))
                except Exception:
                    # The top of a background loop: one service's trouble must not silence all others.
                    log.exception("announcing_instances_failed", service=service)

    async def _publish(self, keys: Iterable[Key]) -> None:
        if self._bus is None or not self._bus.is_connected:
            return
        for (service, environment), changed in groupby(keys, key=lambda key: key[:2]):
            payload = self._message(service, environment, list(changed))
            await self._bus.publish(instances_subject(service, environment), payload, self._signer.headers(payload))

    def _message(self, service: str, environment: str, keys: list[Key]) -> bytes:
        """Those instances as they are now, whatever the change was."""
        fleet, as_of = self._coordination.fleet, self._coordination.as_of
        members = {key: fleet.member(key, as_of) for key in keys}
        hint = {
            "hub_id": self._hub_id(),
            "service": service,
            "environment": environment,
            "as_of": rfc3339(as_of),
        }
        payload = orjson.dumps(
            hint
            | {
                "instances": [described(member, as_of) for member in members.values() if member is not None],
                "gone": [gone(key, fleet.generation(key)) for key, member in members.items() if member is None],
            }
        )
        return payload if len(payload) <= MAX_PUSHED_BYTES else orjson.dumps(hint)
