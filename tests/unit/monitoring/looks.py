"""A hub's looks at what is amiss, one after another, on a clock that the test sets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from central_hub.monitoring.alerts import Decision, Seen, Subject, decide
from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.infrastructure import Maintenance
from central_hub.monitoring.mutes import Mutes
from central_hub.monitoring.rules import Rule, Severity
from central_hub.storage.alert_values import Affected, Alert, AlertState, Silence

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seconds(moment: datetime | None) -> float | None:
    return None if moment is None else (moment - NOON).total_seconds()


def component(name: str = "postgresql", since: float = 0, state: str = "unhealthy") -> Condition:
    return Condition(ConditionKind.INFRASTRUCTURE, name, at(since), "connection refused", state=state)


def service(name: str = "billing", since: float = 0, environment: str = "default") -> Condition:
    return Condition(
        ConditionKind.SERVICE, name, at(since), "none can be called", state="unhealthy", environment=environment
    )


def subject_of(condition: Condition) -> Subject:
    return condition.kind, condition.subject, condition.environment


def rule(name: str = "down", kind: ConditionKind = ConditionKind.INFRASTRUCTURE, **fields: object) -> Rule:
    values = {"for_seconds": 0.0, "cooldown_seconds": 300.0, "severity": Severity.CRITICAL, "summary": "{subject}"}
    return Rule(name=name, kind=kind, **{**values, **fields})  # type: ignore[arg-type]


def silence(until: float, **matchers: str) -> Silence:
    fields = {"rule": None, "subject": None, "environment": None, **matchers}
    return Silence(id="s", reason="known", created_at=NOON, created_by="ada", until=at(until), **fields)


@dataclass
class Looks:
    """What is stored, and what was told: per notification the seconds, the channel, and its alerts by subject and
    state."""

    rules: Mapping[str, Rule]
    silences: tuple[Silence, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    alerts: dict[str, Alert] = field(default_factory=dict)
    told: list[tuple[float, str, list[tuple[str, str]]]] = field(default_factory=list)
    transitions: list[tuple[float, str, str]] = field(default_factory=list)

    @classmethod
    def by(cls, *rules: Rule) -> "Looks":
        return cls({rule.name: rule for rule in rules})

    def look(
        self,
        when: float,
        *conditions: Condition,
        causes: Mapping[Subject, frozenset[str]] | None = None,
        unknown: Iterable[ConditionKind] = (),
        reach: Mapping[str, tuple[Affected, ...]] | None = None,
    ) -> Decision:
        now = at(when)
        stored = sorted(self.alerts.values(), key=lambda alert: alert.notified_at or NOON)
        seen = Seen(conditions, causes or {}, frozenset(unknown), reach or {})
        decision = decide(stored, seen, self.rules, Mutes.at(now, self.silences, self.maintenance), now)
        for alert_id in decision.dropped:
            del self.alerts[alert_id]
        self.alerts.update((alert.id, alert) for alert in decision.changed)
        self.transitions += [(when, alert.subject, alert.state) for alert in decision.transitions]
        self.told += [
            (when, channel, sorted((alert.subject, str(alert.state)) for alert in alerts))
            for channel, alerts in decision.told.items()
        ]
        return decision

    def every_second(self, begin: int, end: int, *conditions: Condition, **known: object) -> None:
        """Look at the same again and again, before `end`."""
        for when in range(begin, end):
            self.look(when, *conditions, **known)  # type: ignore[arg-type]

    @property
    def open(self) -> list[Alert]:
        return [alert for alert in self.alerts.values() if alert.state is not AlertState.RESOLVED]

    @property
    def only(self) -> Alert:
        """The one alert that there is."""
        [alert] = self.alerts.values()
        return alert
