"""Looks at what is amiss once a second, and stores what becomes of it together with what is to be told.

What everybody can see is decided by the one replica that has the duty, what a replica alone can tell by itself. A
transition and its notifications are one transaction: a replica that dies in between has changed nothing, and the next
one decides the same; one that dies after it leaves notifications that any replica sends.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.connections.database import Database, cause_of
from central_hub.errors import StoreUnavailable
from central_hub.monitoring.alerts import Decision, Seen, decide
from central_hub.monitoring.condition import Condition
from central_hub.monitoring.conditions import of_store
from central_hub.monitoring.infrastructure import Maintenance
from central_hub.monitoring.mutes import Mutes
from central_hub.monitoring.rules import Rule
from central_hub.monitoring.telling import notifications_of
from central_hub.storage import alerts, duties, notifications, replicas, silences
from central_hub.storage.alert_values import Alert, AlertState
from central_hub.storage.notification_values import NewNotification

LOOK_SECONDS: Final = 1.0
DUTY: Final = "alerts"
LEASE: Final = timedelta(seconds=15)
RENEW_SECONDS: Final = 4.0
"""How often a replica asks for the duty. One that died has a successor within the lease and one such pause."""
GONE_AFTER: Final = timedelta(minutes=3)
"""When others end what a replica alone could tell: it is not heard of for so long."""
KEPT_FOR: Final = timedelta(days=90)
LOG: Final = "log"
"""The channel that needs neither PostgreSQL nor anybody else."""

log = structlog.get_logger()


class Alerting:
    """The evaluation of the rules, of which one runs in every replica."""

    def __init__(
        self,
        database: Database,
        own_id: str,
        *,
        hub: Callable[[], str],
        clock: Callable[[], datetime],
        rules: Callable[[], Mapping[str, Rule]],
        maintenance: Callable[[], Sequence[Maintenance]],
        look_around: Callable[[], Awaitable[Seen]],
        look_within: Callable[[], Sequence[Condition]],
        tell_now: Callable[[NewNotification], None],
        on_decided: Callable[[Decision], None],
        on_look: Callable[[float], None],
    ) -> None:
        """`hub` is the name that receivers know the hub by. `look_around` tells what everybody can see, `look_within`
        what this replica alone can. `tell_now` speaks to the log at once, for what PostgreSQL cannot be told. `on_look`
        is told how many seconds a look took."""
        self._database = database
        self._own_id = own_id
        self._hub = hub
        self._clock = clock
        self._rules = rules
        self._maintenance = maintenance
        self._look_around = look_around
        self._look_within = look_within
        self._tell_now = tell_now
        self._on_decided = on_decided
        self._on_look = on_look
        self._asked_at = -RENEW_SECONDS
        self._has_own = True
        self._lost: Condition | None = None
        self._in_memory: tuple[Alert, ...] = ()
        self._unrecorded: list[Alert] = []
        self.is_on_duty = False
        self.counts: Mapping[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                began = time.perf_counter()
                await self._look_safely()
                self._on_look(time.perf_counter() - began)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            if self.is_on_duty:
                await self._release()

    async def look(self) -> None:
        """Take one look. Raises StoreUnavailable."""
        if time.monotonic() - self._asked_at >= RENEW_SECONDS:
            await self._database.transaction(self._renew)
            self._asked_at = time.monotonic()
        await self._record()
        own = tuple(self._look_within())
        if own or self._has_own:
            self._has_own = await self._evaluate(self._own_id, Seen(own))
        if self.is_on_duty:
            await self._evaluate("", await self._look_around())

    async def forget_old(self) -> None:
        """Remove what ended long ago. Raises StoreUnavailable."""
        now = self._clock()

        async def work(connection: AsyncConnection) -> None:
            await alerts.forget_resolved(connection, now, KEPT_FOR)
            await silences.forget_before(connection, now - KEPT_FOR)

        await self._database.transaction(work)

    async def _look_safely(self) -> None:
        try:
            await self.look()
            self._lost = None
        except StoreUnavailable as error:
            since = self._clock() if self._lost is None else self._lost.since
            self._lost = of_store(self._own_id, cause_of(error), since)
            # Its lease runs out while it cannot be renewed.
            self.is_on_duty = False
            self._asked_at = -RENEW_SECONDS
        except Exception:
            # The top of a background loop: whatever one condition does to a rule, others are to be told.
            log.exception("alerts_failed")
        self._look_at_store()

    def _look_at_store(self) -> None:
        """What is wrong with the store cannot be stored: it is decided in memory, and told to the log alone."""
        now, rules = self._clock(), self._rules()
        seen = Seen(() if self._lost is None else (self._lost,))
        decision = decide(self._in_memory, seen, rules, Mutes(), now)
        if decision.is_empty:
            return
        self._on_decided(decision)
        changed = {alert.id: alert for alert in decision.changed}
        left = {alert.id: alert for alert in self._in_memory if alert.id not in decision.dropped} | changed
        longest = timedelta(seconds=max(rule.cooldown_seconds for rule in rules.values()))
        self._in_memory = tuple(alert for alert in left.values() if _is_remembered(alert, now - longest))
        told = {alert.id: alert for listed in decision.told.values() for alert in listed}
        for notification in notifications_of({LOG: list(told.values())} if told else {}, self._hub()):
            self._tell_now(notification)
        self._unrecorded += [alert for alert in told.values() if alert.state is AlertState.RESOLVED]

    async def _record(self) -> None:
        """Store what was only decided in memory once it is over, and tell the other channels that it was."""
        if not self._unrecorded:
            return
        ended = {alert.id: alert for alert in self._unrecorded}.values()
        told: dict[str, list[Alert]] = {}
        for alert in ended:
            for channel in alert.notify:
                if channel != LOG:
                    told.setdefault(channel, []).append(alert)

        async def work(connection: AsyncConnection) -> None:
            await alerts.save(connection, list(ended), ())
            await notifications.add(connection, notifications_of(told, self._hub()))

        await self._database.transaction(work)
        self._unrecorded.clear()

    async def _renew(self, connection: AsyncConnection) -> None:
        is_on_duty = await duties.take(connection, DUTY, self._own_id, LEASE)
        if is_on_duty and not self.is_on_duty:
            log.info("alerts_on_duty")
        self.is_on_duty = is_on_duty
        self.counts = await alerts.count(connection)

    async def _evaluate(self, scope: str, seen: Seen) -> bool:
        """Decide about what everybody can see (the scope is empty) or one replica alone; returns whether any alert is
        open. Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            known = await self._known(connection, scope)
            decision = await self._decide(connection, known, seen)
        if decision.is_empty:
            return any(alert.state is not AlertState.RESOLVED for alert in known)

        async def work(connection: AsyncConnection) -> Decision:
            if not scope and not await duties.lock(connection, DUTY, self._own_id):
                self.is_on_duty = False
                return Decision()
            # Once more, now that nobody else changes them: somebody may have acknowledged or silenced one.
            found = await self._known(connection, scope, for_update=True)
            decided = await self._decide(connection, found, seen)
            await alerts.save(connection, decided.changed, decided.dropped)
            await notifications.add(connection, notifications_of(decided.told, self._hub()))
            return decided

        decision = await self._database.transaction(work)
        self._on_decided(decision)
        for alert in decision.transitions:
            log.debug("alert_changed", id=alert.id, state=alert.state, rule=alert.rule, subject=alert.subject)
        return True

    async def _known(self, connection: AsyncConnection, scope: str, *, for_update: bool = False) -> list[Alert]:
        now = self._clock()
        longest = max((rule.cooldown_seconds for rule in self._rules().values()), default=0.0)
        return await alerts.to_decide(
            connection,
            replica=scope,
            alive=None if scope else await self._alive(connection, now),
            told_since=now - timedelta(seconds=longest),
            for_update=for_update,
        )

    async def _decide(self, connection: AsyncConnection, known: Sequence[Alert], seen: Seen) -> Decision:
        now = self._clock()
        mutes = Mutes.at(now, await silences.current(connection, now), self._maintenance())
        return decide(known, seen, self._rules(), mutes, now)

    async def _alive(self, connection: AsyncConnection, now: datetime) -> Collection[str]:
        return [key.id for key in await replicas.alive(connection, since=now - GONE_AFTER)] + [self._own_id]

    async def _release(self) -> None:
        try:
            await self._database.transaction(lambda connection: duties.release(connection, DUTY, self._own_id))
        except StoreUnavailable:
            log.debug("alerts_duty_not_released")


def _is_remembered(alert: Alert, told_since: datetime) -> bool:
    return alert.state is not AlertState.RESOLVED or (alert.notified_at is not None and alert.notified_at > told_since)
