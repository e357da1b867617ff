"""Checks the health endpoints of the instances that are this replica's to check, forever."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import structlog

from central_hub.connections.health_probe import Probed
from central_hub.connections.pinned_request import Target
from central_hub.coordination.check_latencies import CheckLatencies
from central_hub.coordination.check_result import observe
from central_hub.coordination.check_schedule import CheckSchedule
from central_hub.coordination.check_target import has_target, target_of
from central_hub.coordination.manager import CoordinationManager
from central_hub.coordination.registry import lease_ends
from central_hub.errors import StoreUnavailable
from central_hub.storage.instance_values import Check, Instance, Key
from central_hub_client.wire import HealthState

LOOK_SECONDS: Final = 1.0
MAX_AT_ONCE: Final = 256
"""With all of them hanging until they are given up, over a thousand targets still have their turn in time."""

Ask = Callable[[Target], Awaitable[Probed]]

log = structlog.get_logger()


class HealthChecker:
    """Each check is a task of its own, so that one that hangs delays no other."""

    def __init__(
        self,
        coordination: CoordinationManager,
        ask: Ask,
        own_id: str,
        *,
        on_probed: Callable[[Probed], None],
    ) -> None:
        self.schedule = CheckSchedule(own_id, random.random)
        self.latencies = CheckLatencies()
        self._coordination = coordination
        self._ask = ask
        self._on_probed = on_probed
        self._running: dict[Key, asyncio.Task[None]] = {}

    @property
    def running(self) -> int:
        """How many checks are under way."""
        return len(self._running)

    async def run(self) -> None:
        """Check whatever is due, until cancelled."""
        try:
            while True:
                try:
                    self.begin_due()
                except StoreUnavailable:
                    log.debug("checks_wait")
                except Exception:
                    # The top of a background loop: one instance that cannot be dealt with must not end all checks.
                    log.exception("checks_failed")
                await asyncio.sleep(min(LOOK_SECONDS, self.schedule.interval_seconds))
        finally:
            running = list(self._running.values())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def begin_due(self) -> None:
        """Count what was found out since, here and at other replicas, and begin the checks that are due, as many as
        there is room for."""
        targets = dict(self._targets())
        now = self._coordination.clock()
        self.latencies.see(targets, now)
        self.latencies.forget(now)
        for key in self.schedule.due(targets, time.monotonic()):
            if len(self._running) >= MAX_AT_ONCE:
                return
            if key not in self._running:
                self.schedule.begun(key, time.monotonic())
                task = asyncio.create_task(self._check(targets[key]), name="health-check")
                self._running[key] = task
                task.add_done_callback(lambda _, key=key: self._running.pop(key, None))  # type: ignore[misc]

    def _targets(self) -> Iterator[tuple[Key, Instance]]:
        """The instances with a health endpoint; of one that is not heard of any more nobody wants to know."""
        fleet, now = self._coordination.fleet, self._coordination.as_of
        for key, instance in fleet.instances():
            if (
                instance.deregistered_at is None
                and has_target(instance.description)
                # Kept ones are of those whose lease ran out: few, so that they are looked up only then.
                and (lease_ends(instance) > now or fleet.as_member(instance, now).is_kept)
            ):
                yield key, instance

    async def _check(self, instance: Instance) -> None:
        try:
            probed = await self._ask(target_of(instance.description))
        except ValueError as error:
            probed = Probed(None, f"not asked: {error}")
        except Exception:
            # The top of a background task: nothing that an endpoint answers may go unnoticed, or end anything.
            log.exception("check_failed", service=instance.service, instance=instance.instance_id)
            return
        self._on_probed(probed)
        now = self._coordination.clock()
        current = self._coordination.fleet.find(instance.key, now)
        if current is not None and current.generation == instance.generation:
            check = observe(current.check, probed, now)
            self._coordination.checked(current, check)
            _tell(current, check)


def _tell(before: Instance, check: Check) -> None:
    was = None if before.check is None else before.check.state
    if check.state is was or HealthState.UNHEALTHY not in (was, check.state):
        return
    told = {"service": before.service, "environment": before.environment, "instance": before.instance_id}
    if check.state is HealthState.UNHEALTHY:
        log.warning("instance_fails_checks", **told, reason=check.reason)
    else:
        log.info("instance_passes_checks", **told)
