"""Alerts that are to be told, as notifications: what is to be told on a channel at one look is told together, as far
as one message can hold it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Final

from central_hub.monitoring.notification import Event, ToldAlert, compose, size_of
from central_hub.monitoring.rules import Severity
from central_hub.storage.alert_values import Alert, AlertState
from central_hub.storage.notification_values import NewNotification

LARGEST_BYTES: Final = 256 * 1024
"""The bus takes no more than twice that, and receivers of webhooks often no more than a megabyte."""
_SEVERITIES: Final = frozenset(Severity)
_WORST_FIRST: Final = tuple(reversed(Severity))


def notifications_of(told: Mapping[str, Iterable[Alert]], hub: str) -> list[NewNotification]:
    """For each channel one of all that fire and one of all that ended, more only where they are too large for one.
    Whoever decides the same gets the same ids."""
    found = []
    for channel, alerts in told.items():
        listed = sorted(alerts, key=_worst_first)
        for event, state in ((Event.FIRING, AlertState.FIRING), (Event.RESOLVED, AlertState.RESOLVED)):
            for those in _portions(alert for alert in listed if alert.state is state):
                what = "\0".join([channel, *(f"{alert.id} {alert.change}" for alert in those)])
                notification_id = blake2b(what.encode(), digest_size=16).hexdigest()
                composed = compose(notification_id, event, [_told(alert) for alert in those], hub)
                found.append(NewNotification(notification_id, channel, composed.payload))
    return found


def _portions(alerts: Iterable[Alert]) -> Iterator[list[Alert]]:
    portion: list[Alert] = []
    size = 0
    for alert in alerts:
        added = size_of(_told(alert))
        if portion and size + added > LARGEST_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(alert)
        size += added
    if portion:
        yield portion


def _worst_first(alert: Alert) -> tuple[int, str, str, str]:
    return _WORST_FIRST.index(_severity(alert)), alert.subject, alert.environment, alert.rule


def _severity(alert: Alert) -> Severity:
    """One that only another version of the hub knows is told as the worst, so that all others can be told too."""
    return Severity(alert.severity) if alert.severity in _SEVERITIES else Severity.CRITICAL


def _told(alert: Alert) -> ToldAlert:
    return ToldAlert(
        id=alert.id,
        rule=alert.rule,
        severity=_severity(alert),
        subject=alert.subject,
        state=alert.state,
        summary=alert.summary,
        reason=alert.reason,
        since=alert.since,
        environment=alert.environment,
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at,
        labels=alert.labels,
        affected=[str(each) for each in alert.affected],
        caused_by=alert.caused_by,
    )
