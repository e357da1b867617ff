"""What is measured of the parts of a hub: values that are read when somebody asks, and events that are counted."""

import asyncio
import time
from typing import Final

from central_hub.config.announcer import Announcer
from central_hub.config.tail import Tail
from central_hub.connections.health_probe import Probed
from central_hub.connections.manager import ConnectionManager
from central_hub.coordination.manager import CoordinationManager
from central_hub.metrics import Metrics
from central_hub.monitoring.alerting import Alerting
from central_hub.monitoring.infrastructure_file import InfrastructureFile
from central_hub.monitoring.manager import MonitoringManager
from central_hub.monitoring.notifier import Notifier
from central_hub.monitoring.rules import Severity
from central_hub.storage.alert_values import Alert, AlertState
from central_hub.storage.target_values import Transition

_LAG_SECONDS: Final = 0.5


class Measurements:
    """Between the parts, which know nothing of metrics, and the metrics, which know nothing of the parts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def run(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        while True:
            due = time.perf_counter() + _LAG_SECONDS
            await asyncio.sleep(_LAG_SECONDS)
            self._metrics.loop_lag_seconds.set(max(0.0, time.perf_counter() - due))

    def checked(self, probed: Probed) -> None:
        """The health endpoint of an instance was asked."""
        outcome = "unmeasured" if probed.ok is None else "passed" if probed.ok else "failed"
        self._metrics.health_checks.labels(outcome).inc()

    def target_probed(self, target: str, probed: Probed) -> None:
        if probed.latency_ms is not None:
            self._metrics.target_probed(target, probed.latency_ms / 1000)

    def target_changed(self, transition: Transition) -> None:
        self._metrics.target_transitions.labels(transition.to_state).inc()

    def alert_changed(self, alert: Alert) -> None:
        """It came into the state that it is in."""
        self._metrics.alert_transitions.labels(alert.state).inc()

    def told(self, channel_type: str, outcome: str) -> None:
        """Somebody was told of alerts, or could not be."""
        self._metrics.notifications.labels(channel_type, outcome).inc()

    def watch_configs(self, tail: Tail, announcer: Announcer) -> None:
        measure = self._metrics.watch_value
        measure(
            "central_hub_applied_revision",
            "The revision that this replica has applied.",
            lambda: tail.snapshot.revision if tail.is_loaded else 0,
        )
        measure("central_hub_epoch", "The epoch of this replica.", lambda: tail.snapshot.epoch if tail.is_loaded else 0)
        measure("central_hub_revision", "The last revision seen in the store.", lambda: tail.store_revision)
        measure("central_hub_tail_lag_seconds", "Time since the end of the log was reached.", lambda: tail.lag_seconds)
        measure("central_hub_store_stale", "1 while PostgreSQL is not reached.", lambda: float(tail.is_stale))
        measure("central_hub_announce_pending", "Configs not known to be on the bus.", lambda: announcer.pending)
        measure("central_hub_announce_failures", "Announcements that failed.", lambda: announcer.failures)

    def watch_connections(self, connections: ConnectionManager) -> None:
        measure = self._metrics.watch_value
        measure("central_hub_bus_up", "1 while NATS answers.", lambda: float(connections.nats.ok is True))
        measure("central_hub_pool_in_use", "Database connections in use.", connections.database.pool_in_use)

    def watch_fleet(self, fleet: CoordinationManager) -> None:
        measure = self._metrics.watch_value
        measure("central_hub_instances", "Instances that are spoken of.", lambda: fleet.remembered)
        measure("central_hub_heartbeats_unwritten", "Instances with news not in the store.", lambda: fleet.unwritten)

    def watch_infrastructure(self, file: InfrastructureFile, monitoring: MonitoringManager) -> None:
        refused = "1 while infrastructure.yaml as it is now is not taken over."
        self._metrics.watch_value("central_hub_infrastructure_refused", refused, lambda: float(file.error is not None))
        self._metrics.watch_targets(lambda: {name: target.state for name, target in monitoring.targets.items()})

    def watch_alerts(self, alerting: Alerting, notifier: Notifier) -> None:
        self._metrics.watch_value(
            "central_hub_notifications_pending",
            "Notifications that are not delivered yet, of all replicas.",
            lambda: notifier.counted.due,
        )
        self._metrics.watch_value(
            "central_hub_notifications_dead",
            "Notifications that were given up, of all replicas, until they are sent again or forgotten.",
            lambda: notifier.counted.dead,
        )
        self._metrics.before_exposition(lambda: self._count_alerts(alerting))

    def _count_alerts(self, alerting: Alerting) -> None:
        counts = alerting.counts
        for state in (AlertState.PENDING, AlertState.FIRING):
            for severity in Severity:
                self._metrics.alerts.labels(state, severity).set(counts.get((state, severity), 0))
