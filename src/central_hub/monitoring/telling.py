"""Alerts that are to be told, as notifications: what is to be told on a channel at one look is told together. Pure."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

from central_hub.monitoring.notification import Event, ToldAlert, compose
from central_hub.monitoring.rules import Severity
from central_hub.storage.alert_values import Alert, AlertState
from central_hub.storage.notification_values import NewNotification

_WORST_FIRST: Final = tuple(reversed(Severity))


def notifications_of(told: Mapping[str, Iterable[Alert]], hub: str) -> list[NewNotification]:
    """For each channel one of all that fire and one of all that ended. Whoever decides the same gets the same ids."""
    found = []
    for channel, alerts in told.items():
        listed = sorted(alerts, key=_worst_first)
        for event, state in ((Event.FIRING, AlertState.FIRING), (Event.RESOLVED, AlertState.RESOLVED)):
            those = [alert for alert in listed if alert.state is state]
            if those:
                what = "\0".join([channel, *(f"{alert.id} {alert.change}" for alert in those)])
                notification_id = blake2b(what.encode(), digest_size=16).hexdigest()
                composed = compose(notification_id, event, [_told(alert) for alert in those], hub)
                found.append(NewNotification(notification_id, channel, composed.payload))
    return found


def _worst_first(alert: Alert) -> tuple[int, str, str, str]:
    return _WORST_FIRST.index(Severity(alert.severity)), alert.subject, alert.environment, alert.rule


def _told(alert: Alert) -> ToldAlert:
    return ToldAlert(
        id=alert.id,
        rule=alert.rule,
        severity=Severity(alert.severity),
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
