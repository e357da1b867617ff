"""Tells of alerts in the hub's own log. It needs nothing and nobody, so it speaks also while all else is down."""

from typing import Final

import structlog

from central_hub.monitoring.notification import Event, Notification
from central_hub.monitoring.rules import ChannelType, Severity

_LEVELS: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "error"}

log = structlog.get_logger()


class LogChannel:
    """A line for each alert: an error for a critical one, a warning, or, where nothing is amiss any more, a note."""

    type = ChannelType.LOG

    async def send(self, notification: Notification) -> None:
        tell_now(notification)


def tell_now(notification: Notification) -> None:
    """Write the lines. Needs no store."""
    for alert in notification.alerts:
        level = _LEVELS[alert.severity] if notification.event is Event.FIRING else "info"
        told = {
            "rule": alert.rule,
            "severity": alert.severity.value,
            "subject": alert.subject,
            "environment": alert.environment,
            "summary": alert.summary,
            "reason": alert.reason,
            "since": alert.since.isoformat(),
            "affected": list(alert.affected),
            "caused_by": list(alert.caused_by),
            "labels": dict(alert.labels),
        }
        getattr(log, level)(
            f"alert_{notification.event.value}",
            alert=alert.id,
            notification=notification.id,
            **{name: value for name, value in told.items() if value},
        )
