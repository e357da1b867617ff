"""What the hub knows to be amiss, in the words of its alerts: from the fleet, the configurations, the infrastructure,
the audit log, and from this replica itself."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from central_hub.audit.rounds import AuditRounds
from central_hub.config.tail import Tail
from central_hub.coordination.convergence import Standing, converge
from central_hub.coordination.fleet import Member, Place
from central_hub.coordination.manager import CoordinationManager
from central_hub.monitoring import conditions
from central_hub.monitoring.alerts import Seen
from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.conditions import ConfigState, ServiceState
from central_hub.monitoring.manager import MonitoringManager
from central_hub.monitoring.root_causes import blame, reach
from central_hub.monitoring.situation import Situation
from central_hub.situations import health_of, situation_of

FLEET_SECONDS: Final = 5.0
"""How often all instances are looked through: thousands take a while."""
LAG: Final = timedelta(seconds=10)
"""A replica looks for the end of the log every second; so long after it last was there, it lags."""

OF_THE_FLEET: Final = frozenset(
    {ConditionKind.SERVICE, ConditionKind.CONFIG_REJECTED, ConditionKind.CONFIG_NOT_CONVERGED}
)


class AlertSources:
    """Looks around, and within."""

    def __init__(
        self,
        own_id: str,
        tail: Tail,
        coordination: CoordinationManager,
        monitoring: MonitoringManager,
        audit: AuditRounds,
    ) -> None:
        self._own_id = own_id
        self._tail = tail
        self._coordination = coordination
        self._monitoring = monitoring
        self._audit = audit
        self._of_fleet: tuple[Condition, ...] = ()
        self._fleet_at = -FLEET_SECONDS

    async def around(self) -> Seen:
        """What every replica can see."""
        found: list[Condition] = []
        unknown: set[ConditionKind] = set()
        infrastructure, targets = self._monitoring.infrastructure(), self._monitoring.targets
        situation = situation_of(infrastructure, targets)
        if not self._monitoring.is_loaded or self._monitoring.is_stale:
            unknown.add(ConditionKind.INFRASTRUCTURE)
        else:
            found += conditions.of_infrastructure(targets.values(), infrastructure.components)
        if not self._coordination.is_loaded or self._coordination.is_stale or self._tail.is_stale:
            unknown |= OF_THE_FLEET
        else:
            found += await self._fleet(situation)
        if not self._audit.is_known:
            unknown.add(ConditionKind.AUDIT_BROKEN)
        elif self._audit.broken_since is not None:
            flaws = self._audit.flaws
            found += conditions.of_audit(len(flaws), flaws[0], self._audit.broken_since)
        reached = reach(situation.graph, {name: target.state for name, target in targets.items()})
        return Seen(tuple(found), blame(situation.causes, found), frozenset(unknown), reached)

    def within(self) -> Sequence[Condition]:
        """What this replica alone can tell."""
        if not self._tail.is_loaded:
            return []
        now = self._coordination.clock()
        lag = timedelta(seconds=self._tail.lag_seconds)
        is_lagging = lag > LAG and self._tail.fenced is None
        lagging_since = now - lag if is_lagging else None
        return list(conditions.of_replica(self._own_id, lagging_since=lagging_since, fenced=self._tail.fenced, now=now))

    async def _fleet(self, situation: Situation) -> tuple[Condition, ...]:
        if time.monotonic() - self._fleet_at >= FLEET_SECONDS:
            fleet, now = self._coordination.fleet, self._coordination.as_of
            services, configs = [], []
            for service in fleet.services:
                for place, there in groupby(fleet.members(service, now), key=lambda member: member.instance.key[:2]):
                    members = list(there)
                    health = health_of(service, members, situation)
                    services.append(ServiceState(service, place[1], health.state, health.reason, now))
                    configs += self._config(place, members, now)
                await asyncio.sleep(0)  # others go on in between
            self._of_fleet = (*conditions.of_services(services), *conditions.of_configs(configs))
            self._fleet_at = time.monotonic()
        return self._of_fleet

    def _config(self, place: Place, members: Iterable[Member], now: datetime) -> list[ConfigState]:
        found = self._tail.snapshot.find(*place)
        # Of an instance that never told what it runs, nobody knows whether it has any use for a configuration.
        speaking = [
            member.instance
            for member in members
            if member.instance.stance.applied is not None or member.instance.stance.rejected is not None
        ]
        if found is None or not speaking:
            return []
        deliveries = converge(speaking, found.object.position, (), now).deliveries
        rejected = [delivery for delivery in deliveries if delivery.standing is Standing.REJECTED]
        pending = [delivery.instance for delivery in deliveries if delivery.standing is Standing.PENDING]
        stored_at = datetime.fromisoformat(found.object.updated_at)
        return [
            ConfigState(
                *place,
                str(found.object.position),
                instances=len(deliveries),
                rejected=len(rejected),
                rejection=(rejected[0].error or "it does not say why") if rejected else "",
                rejected_since=now if rejected else None,
                pending=len(pending),
                pending_since=min((max(stored_at, each.registered_at) for each in pending), default=None),
            )
        ]
