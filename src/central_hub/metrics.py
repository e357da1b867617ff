"""What the hub measures about itself, in Prometheus terms. One instance per hub; nothing is global."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from central_hub_client.wire import HealthState

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_PROBE_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0)
_APPLY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class Metrics:
    """Every series of `/metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._before_exposition: list[Callable[[], None]] = []
        self.requests = Counter(
            "central_hub_requests",
            "Requests answered, by route template, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "central_hub_request_seconds",
            "Time from the complete headers to the end of the answer, by route template; open streams excluded.",
            ["route"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.writes = Counter(
            "central_hub_writes",
            "Writes of documents, by what became of them: a status of the API, or the code of the refusal.",
            ["outcome"],
            registry=self.registry,
        )
        # Without labels: services come from callers, and every one of them would be a histogram of its own.
        self.time_to_apply_seconds = Histogram(
            "central_hub_time_to_apply_seconds",
            "Time from the commit of a revision until an instance that was running by then told this replica that it"
            " applied it.",
            buckets=_APPLY_BUCKETS,
            registry=self.registry,
        )
        self.health_checks = Counter(
            "central_hub_health_checks",
            "Checks of health endpoints by this replica, by what came of them: passed, failed, or unmeasured.",
            ["outcome"],
            registry=self.registry,
        )
        self.notifications = Counter(
            "central_hub_notifications",
            "Attempts of this replica to tell of alerts, by the type of the channel and what came of them: sent, failed"
            " (it is tried again), or dead (given up).",
            ["channel_type", "outcome"],
            registry=self.registry,
        )
        # By target: they come from the operator's file, which bounds them.
        self._probed_targets: set[str] = set()
        self._target_probe_seconds = Histogram(
            "central_hub_target_probe_seconds",
            "Time that targets took to answer the probes of this replica.",
            ["target"],
            buckets=_PROBE_BUCKETS,
            registry=self.registry,
        )
        self.target_transitions = Counter(
            "central_hub_target_transitions",
            "Changes of the states of targets that this replica saw first, by the state that they came into.",
            ["state"],
            registry=self.registry,
        )
        self.alerts = Gauge(
            "central_hub_alerts",
            "Alerts that are not resolved, by state and severity, as this replica last counted them.",
            ["state", "severity"],
            registry=self.registry,
        )
        self.alert_transitions = Counter(
            "central_hub_alert_transitions",
            "Alerts that this replica has brought into another state, by that state.",
            ["state"],
            registry=self.registry,
        )
        # Its count is that of the evaluations.
        self.alert_evaluation_seconds = Histogram(
            "central_hub_alert_evaluation_seconds",
            "Time for one look at everything that rules of alerts are about, and for storing what came of it.",
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.watchers = Gauge("central_hub_watchers", "Open streams of server-sent events.", registry=self.registry)
        self.loop_lag_seconds = Gauge(
            "central_hub_event_loop_lag_seconds",
            "How late the event loop woke up at its last measurement.",
            registry=self.registry,
        )

    def watch_value(self, name: str, description: str, read: Callable[[], float]) -> None:
        """A gauge that is read when the metrics are asked for."""
        Gauge(name, description, registry=self.registry).set_function(read)

    def watch_targets(self, read: Callable[[], Mapping[str, HealthState]]) -> None:
        """The states of all targets, read when the metrics are asked for: those that are gone leave nothing behind."""
        self.registry.register(_TargetStates(read))
        self.before_exposition(lambda: self._forget_targets(read()))

    def target_probed(self, target: str, seconds: float) -> None:
        """A target took so long to answer."""
        self._probed_targets.add(target)
        self._target_probe_seconds.labels(target).observe(seconds)

    def _forget_targets(self, there: Mapping[str, HealthState]) -> None:
        for target in self._probed_targets - there.keys():
            self._target_probe_seconds.remove(target)
        self._probed_targets &= there.keys()

    def before_exposition(self, hand_over: Callable[[], None]) -> None:
        """Let somebody who counts by himself hand over his counts whenever the metrics are asked for."""
        self._before_exposition.append(hand_over)

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        for hand_over in self._before_exposition:
            hand_over()
        return generate_latest(self.registry)


class _TargetStates(Collector):
    def __init__(self, read: Callable[[], Mapping[str, HealthState]]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily(
            "central_hub_target_up", "1 while a target is healthy or degraded, by target.", labels=["target"]
        )
        state = GaugeMetricFamily(
            "central_hub_target_state", "1 for the state that a target is in, by target.", labels=["target", "state"]
        )
        for target, found in self._read().items():
            up.add_metric([target], float(found in _UP))
            for each in _TARGET_STATES:
                state.add_metric([target, each], float(found is each))
        yield up
        yield state


_UP: Final = frozenset({HealthState.HEALTHY, HealthState.DEGRADED})
_TARGET_STATES: Final = tuple(state for state in HealthState if state is not HealthState.DRAINING)
