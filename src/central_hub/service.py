"""Central Hub: every part, and how they hang together. Start reading here.

    a change    api → ConfigStore.write → plan (pure) → Conformance (schemas) → Contracts (what runs) → storage, one
                transaction → Tail → Announcer → NATS, watchers
    a read      api → Snapshot (immutable, already serialised); no database
    following   another replica's commit → the audit log → Tail → Snapshot
    below it    infrastructure.yaml → InfrastructureFile, whenever it changes → an Infrastructure, or all that is wrong
                → MonitoringManager: probes → how each target is (this replica's view); written and read once a second
    alerts      what is amiss (AlertSources) → Alerting → decide (pure) → storage, one transaction: the transition, and
                in the outbox what is to be told of it → Notifier (claims) → channels
    a fleet     register, heartbeat → CoordinationManager → Fleet (this replica's view); written and read once a second
                → FleetAnnouncer → watchers, NATS

Nothing here decides anything: it builds the parts, hands each what it needs, and says in which order they start; they
stop in the reverse.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog

from central_hub.alert_sources import AlertSources
from central_hub.audit.log import AuditLog
from central_hub.audit.rounds import AuditRounds
from central_hub.config.announcer import Announcer
from central_hub.config.conformance import Conformance
from central_hub.config.contracts import Contracts
from central_hub.config.history import ConfigHistory
from central_hub.config.listing import ConfigListing
from central_hub.config.reach import View
from central_hub.config.snapshot import Key, Representation, Snapshot
from central_hub.config.store import ConfigStore
from central_hub.config.tail import Tail
from central_hub.connections.database import cause_of
from central_hub.connections.health_probe import HealthProbe
from central_hub.connections.manager import ConnectionManager
from central_hub.coordination.announcer import FleetAnnouncer
from central_hub.coordination.health_checker import HealthChecker
from central_hub.coordination.manager import CoordinationManager
from central_hub.coordination.time_to_apply import TimeToApply
from central_hub.errors import StoreUnavailable
from central_hub.measurements import Measurements
from central_hub.metrics import Metrics
from central_hub.monitoring.alert_desk import AlertDesk
from central_hub.monitoring.alerting import Alerting
from central_hub.monitoring.alerts import Decision
from central_hub.monitoring.channels.directory import ChannelDirectory
from central_hub.monitoring.channels.log import tell_now
from central_hub.monitoring.credentials import Credentials
from central_hub.monitoring.default_rules import DEFAULT_RULES
from central_hub.monitoring.infrastructure_file import InfrastructureFile
from central_hub.monitoring.manager import MonitoringManager
from central_hub.monitoring.notification import read
from central_hub.monitoring.notifier import Notifier
from central_hub.monitoring.probes.asking import Probes
from central_hub.presence import Presence
from central_hub.security.registry import TokenRegistry
from central_hub.security.signing import Signer, SigningKey
from central_hub.settings import HubSettings, process_environment
from central_hub.storage.config_values import Head
from central_hub.storage.instance_values import Instance
from central_hub.storage.notification_values import NewNotification
from central_hub.store_check import StoreCheck
from central_hub.store_clock import StoreClock
from central_hub.validation.checker import SchemaChecker
from central_hub.validation.consumer_checker import ConsumerChecker
from central_hub_client.backoff import Backoff
from central_hub_client.base_service import BaseService, PartFailed, Steps
from central_hub_client.wire import HealthState

_HOUSEKEEPING_SECONDS: Final = 3600.0
_LONGEST_WAIT_SECONDS: Final = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Health:
    """What `/health` says, measured when it is asked."""

    state: HealthState
    reasons: list[str]


class CentralHubService(BaseService[None]):
    """One replica of the hub. Any number of them share a PostgreSQL and a NATS.

    Raises StartupRefused where the file of the infrastructure is not right.
    """

    def __init__(self, settings: HubSettings) -> None:
        super().__init__(name="central-hub")
        self.settings = settings
        self.metrics = Metrics()
        self.measurements = measured = Measurements(self.metrics)
        environment = process_environment()
        self.infrastructure = InfrastructureFile(settings.infrastructure_file, environment, DEFAULT_RULES)
        credentials = Credentials(environment)
        self.infrastructure.load()
        self._key = SigningKey.load_or_create(settings.signing_key_path)
        self.connections = ConnectionManager(settings, on_message=self._heard, on_bus_connected=self._bus_connected)
        database = self.connections.database
        self.store_check = StoreCheck(database, is_verified=settings.durability == "verified")
        self.presence = Presence(database, self._key, self._share_work)
        self.tail = Tail(database, self.connections.postgres, on_head=self._head_seen)
        self.tokens = TokenRegistry(database, on_change=self._wake_all)
        signer = Signer(self._key.id, self._key.sign, self.presence.has_signed)
        self.announcer = Announcer(self.tail, signer, self.connections.bus)
        self.schema_checker = SchemaChecker()
        self.time_to_apply = TimeToApply(self.metrics.time_to_apply_seconds.observe)
        self.tail.feed.listen(self._committed)
        self.clock = StoreClock()
        self.coordination = CoordinationManager(
            database, self.clock, on_applied=self.time_to_apply.applied, protect_share=settings.protect_share
        )
        self.probe = HealthProbe()
        self.checks = HealthChecker(self.coordination, self.probe.ask, self._key.id, on_probed=measured.checked)
        self.fleet_announcer = FleetAnnouncer(
            self.coordination, lambda: self.tail.snapshot.hub_id, signer, self.connections.bus
        )
        self.probes = Probes(credentials.reveal)
        self.monitoring = MonitoringManager(
            database,
            self._key.id,
            self.clock,
            infrastructure=lambda: self.infrastructure.current,
            why_refused=lambda: self.infrastructure.error,
            ask=self.probes.ask,
            on_probed=measured.target_probed,
            on_transition=measured.target_changed,
        )
        self.infrastructure.listen(lambda _: self.monitoring.reload())
        self.consumer_checker = ConsumerChecker()
        self.contracts = Contracts(database, self.consumer_checker, self.instances_of)
        self.store = ConfigStore(
            database, self.tail, Conformance(self.schema_checker), self.contracts, self.announcer.announced
        )
        self.history = ConfigHistory(database)
        self.listing = ConfigListing(database)
        self.audit = AuditLog(database)
        self.channels = ChannelDirectory(
            lambda: self.infrastructure.current.alerts, credentials.reveal, self.connections.bus, signer
        )
        self.notifier = Notifier(database, self._key.id, self.channels.find, on_told=measured.told)
        self.audit_rounds = AuditRounds(self.audit, self.clock, is_on_duty=lambda: self.alerting.is_on_duty)
        self.alert_sources = AlertSources(
            self._key.id,
            self.tail,
            self.coordination,
            self.monitoring,
            self.audit_rounds,
        )
        self.alerting = Alerting(
            database,
            self._key.id,
            hub=lambda: self.tail.snapshot.hub_id,
            clock=self.clock,
            rules=lambda: self.infrastructure.current.alerts.rules or DEFAULT_RULES,
            maintenance=lambda: self.infrastructure.current.maintenance,
            look_around=self.alert_sources.around,
            look_within=self.alert_sources.within,
            tell_now=_tell_now,
            on_decided=self._decided,
            on_look=self.metrics.alert_evaluation_seconds.observe,
        )
        self.alert_desk = AlertDesk(database, clock=self.clock)
        self._tasks: list[asyncio.Task[None]] = []
        measured.watch_configs(self.tail, self.announcer)
        measured.watch_connections(self.connections)
        measured.watch_fleet(self.coordination)
        measured.watch_infrastructure(self.infrastructure, self.monitoring)
        measured.watch_alerts(self.alerting, self.notifier)
        self.add(Steps(stop=database.close), name="database")
        self.add(Steps(stop=self.probe.close), name="probe")
        self.add(Steps(stop=self.probes.close), name="probes")
        self.add(Steps(stop=self.schema_checker.stop), name="schemas")
        self.add(Steps(stop=self.consumer_checker.stop), name="consumers")
        self.add(Steps(start=self._load_when_there), name="store", start_seconds=None)
        self.add(Steps(start=self._begin_to_work, stop=self._end_work), name="work")
        self.add(self.connections, name="bus")

    async def start(self) -> None:
        """Check the store, load the documents, and begin to follow and to announce.

        Waits for a PostgreSQL that is not there yet. Raises StartupRefused for what waiting does not mend.
        """
        try:
            await super().start()
        except PartFailed as failure:
            raise failure.__cause__ or failure from None
        log.info("hub_ready", position=str(self.tail.snapshot.position), key=self._key.id)

    def drain(self) -> None:
        """Stop being ready, and end the open streams, so that clients move to another replica."""
        super().drain()
        self._wake_all()

    async def stop(self) -> None:
        """End the background work and close the connections."""
        await super().stop()
        log.info("hub_stopped")

    def health(self) -> Health:
        """How this replica is, with reasons."""
        if self.draining.is_set():
            return Health(HealthState.DRAINING, ["the hub is shutting down"])
        if not (self.tail.is_loaded and self.tokens.is_loaded and self.coordination.is_loaded):
            return Health(HealthState.STARTING, self._why_not_loaded())
        reasons = []
        if self.tail.fenced is not None:
            reasons.append(self.tail.fenced)
        elif self.tail.is_stale:
            reasons.append(f"postgres: not reached for {self.tail.lag_seconds:.0f} s; reads go on, writes answer 503")
        nats = self.connections.nats
        if nats.ok is False:
            reasons.append(f"nats: {nats.reason}")
        if self.announcer.pending and nats.ok is False:
            reasons.append(f"nats: {self.announcer.pending} changes wait to be announced")
        if self.infrastructure.error is not None:
            first, *more = self.infrastructure.error.splitlines()
            reasons.append(f"infrastructure: {first}{f', and {len(more)} more' if more else ''}")
        return Health(HealthState.DEGRADED if reasons else HealthState.HEALTHY, reasons)

    def health_report(self) -> dict[str, Any]:
        """Everything about this replica's health, as it is answered."""
        health, tail = self.health(), self.tail
        measured: dict[str, dict[str, float]] = {
            "postgres": {"lag_seconds": round(tail.lag_seconds, 3)},
            "nats": {"pending": self.announcer.pending},
        }
        return {
            "state": health.state,
            "reasons": health.reasons,
            "hub_id": tail.snapshot.hub_id if tail.is_loaded else None,
            "applied": str(tail.snapshot.position) if tail.is_loaded else None,
            "components": {
                link.name: {
                    "ok": link.ok,
                    "needed": link.is_needed,
                    "reason": link.reason,
                    "since": link.since.isoformat(),
                    **measured[link.name],
                }
                for link in self.connections.links
            },
        }

    def _why_not_loaded(self) -> list[str]:
        postgres = self.connections.postgres
        if not postgres.ok:
            return [f"postgres: {postgres.reason}; the hub waits for it"]
        return ["documents, tokens and instances are not loaded yet"]

    async def _load_when_there(self) -> None:
        backoff = Backoff(limit_seconds=_LONGEST_WAIT_SECONDS, least=0.5)
        while True:
            try:
                await self._load()
                break
            except StoreUnavailable as error:
                if self.connections.postgres.fails(f"not reached ({cause_of(error)})"):
                    log.warning("waiting_for_store", reason=cause_of(error))
                await asyncio.sleep(backoff.next())

    def _begin_to_work(self) -> None:
        self._spawn("tail", self.tail.run())
        self._spawn("announcer", self.announcer.run())
        self._spawn("stream", self.announcer.watch_stream())
        self._spawn("bookmarks", self.announcer.send_bookmarks())
        self._spawn("coordination", self.coordination.run())
        if self.settings.active_checks:
            self._spawn("checks", self.checks.run())
        self._spawn("infrastructure", self.infrastructure.run())
        self._spawn("monitoring", self.monitoring.run())
        self._spawn("fleet-watchers", self.fleet_announcer.wake_watchers())
        self._spawn("fleet-announcer", self.fleet_announcer.publish())
        self._spawn("contracts", self.contracts.run(lambda: View.of(self.tail.snapshot)))
        self._spawn("notifier", self.notifier.run())
        self._spawn("alerts", self.alerting.run())
        self._spawn("audit-rounds", self.audit_rounds.run())
        self._spawn("presence", self.presence.run(before=self.store_check.adopt_cluster))
        self._spawn("housekeeping", self._keep_house())
        self._spawn("loop-lag", self.measurements.run())

    async def _end_work(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):
            await self.coordination.write()
            await self.monitoring.write()

    async def _load(self) -> None:
        await self.store_check.refuse_unfit()
        await self.store_check.adopt_cluster()
        await self.tokens.ensure_admin(self.settings.admin_token_path)
        await self.presence.announce()
        await self.tail.load()
        await self.coordination.catch_up()
        await self.monitoring.catch_up()
        await self.contracts.catch_up()

    def instances_of(self, service: str) -> Sequence[Instance]:
        """The instances of a service that are spoken of. Raises StoreUnavailable until they are loaded."""
        return self.coordination.fleet.of_service(service, self.coordination.as_of)

    async def _head_seen(self, head: Head) -> None:
        if self.tail.is_stale:
            # Before anything is written again: it may have come back as what it was on another server.
            await self.store_check.adopt_cluster()
        await self.tokens.refresh(head)

    def _wake_all(self) -> None:
        """Let every open stream look whether it may go on."""
        self.tail.feed.waiters.wake_all()
        self.fleet_announcer.waiters.wake_all()

    async def _bus_connected(self) -> None:
        await self.announcer.connected()

    def _heard(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        self.announcer.heard(subject, payload, headers)

    def _committed(self, _: Snapshot, changed: Mapping[Key, Representation]) -> None:
        updated_at = {found.object.position: found.object.updated_at for found in changed.values()}
        for position in sorted(updated_at):
            self.time_to_apply.committed(position, datetime.fromisoformat(updated_at[position]))

    def _decided(self, decision: Decision) -> None:
        if decision.told:
            self.notifier.wake()
        for alert in decision.transitions:
            self.measurements.alert_changed(alert)

    def _share_work(self, replicas: Iterable[str]) -> None:
        replicas = frozenset(replicas)
        self.checks.schedule.share_with(replicas)
        self.monitoring.share_with(replicas)

    async def _keep_house(self) -> None:
        while True:
            try:
                await self.store.forget_old_answers()
                await self.coordination.forget_old()
                await self.notifier.forget_old()
                await self.monitoring.forget_old()
                await self.alerting.forget_old()
                await self.presence.forget_old()
            except StoreUnavailable:
                log.debug("housekeeping_failed")
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))


def _tell_now(notification: NewNotification) -> None:
    tell_now(read(notification.payload))
