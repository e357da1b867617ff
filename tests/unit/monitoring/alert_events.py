"""What happens to alerts in the simulations: as the hub decides it, and as a plain model expects it."""

from collections.abc import Iterator

from central_hub.monitoring.alerts import Decision
from central_hub.monitoring.condition import ConditionKind
from central_hub.monitoring.default_rules import DEFAULT_RULES
from central_hub.monitoring.rules import Rule
from central_hub.storage.alert_values import Alert, AlertState
from tests.unit.monitoring import plain_model
from tests.unit.monitoring.looks import Looks, at

Event = tuple[int, str, str, str]
"""Second, rule, subject, and what happened."""

RULES = {
    name: rule
    for name, rule in DEFAULT_RULES.items()
    if rule.kind in (ConditionKind.INFRASTRUCTURE, ConditionKind.SERVICE)
}


def happened_at(second: int, decision: Decision) -> Iterator[Event]:
    """What came of a look."""
    for alert in decision.transitions:
        if alert.state is not AlertState.PENDING:
            yield second, alert.rule, alert.subject, "fired" if alert.state is AlertState.FIRING else "resolved"
    for alert in decision.told.get("log", ()):
        yield second, alert.rule, alert.subject, "told of the end" if alert.state is AlertState.RESOLVED else "told"


def events_of(rule: Rule, subject: str, episodes: list[plain_model.Episode]) -> Iterator[Event]:
    """What is expected to happen."""
    for episode in episodes:
        yield episode.fires, rule.name, subject, "fired"
        yield episode.ends, rule.name, subject, "resolved"
        if episode.told is not None:
            yield episode.told, rule.name, subject, "told"
            yield episode.ends, rule.name, subject, "told of the end"


def is_settled(alert: Alert) -> bool:
    """Whether it stays as it is until something else changes."""
    if alert.state is AlertState.FIRING and alert.absent_since is None:
        return alert.is_told or alert.acknowledged_at is not None or bool(alert.caused_by)
    return alert.state is AlertState.RESOLVED


def forget_resolved(looks: Looks, second: int) -> None:
    """As the store does: of what is resolved only what was told of late is looked at."""
    looks.alerts = {
        alert_id: alert
        for alert_id, alert in looks.alerts.items()
        if alert.state is not AlertState.RESOLVED
        or (alert.notified_at is not None and (at(second) - alert.notified_at).total_seconds() < 300)
    }


def first_difference(happened: list[Event], expected: list[Event]) -> str:
    only = sorted(
        {*((event, "happened") for event in set(happened) - set(expected))}
        | {*((event, "was expected") for event in set(expected) - set(happened))}
    )
    return "; ".join(f"{what}: {event}" for event, what in only[:6])
