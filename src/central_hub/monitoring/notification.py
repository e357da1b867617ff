"""What is told on a channel: composed with the transition, stored as JSON text, sent as it was stored, and rendered as
plain text for people. Pure.

    {"version": 1, "id", "event": "firing" | "resolved" | "test", "severity", "title", "hub",
     "alerts": [{"id", "rule", "severity", "subject", "environment", "state", "summary", "reason", "since", "fired_at",
                 "resolved_at", "labels", "affected", "caused_by"}]}

Receivers get the same bytes with every attempt. A change that one of them would notice is another version; what is
added is not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from central_hub.monitoring.rules import Severity

VERSION: Final = 1
SHOWN_AFFECTED: Final = 20
"""People get so many names of who is hit; receivers of the payload get all."""
SHOWN_ALERTS: Final = 20
"""People get so many alerts in one text; receivers of the payload get all."""
LONGEST_TITLE: Final = 250
LONGEST_LINE: Final = 1000


class Event(StrEnum):
    """What a notification tells of its alerts."""

    FIRING = "firing"
    RESOLVED = "resolved"
    TEST = "test"
    """Nothing is amiss: somebody tries a channel."""


@dataclass(frozen=True, slots=True)
class ToldAlert:
    """An alert as it is told. `environment` is empty where the subject has none; `affected` are the names of who is
    hit, `caused_by` those of the components whose alerts speak for this one."""

    id: str
    rule: str
    severity: Severity
    subject: str
    state: str
    summary: str
    reason: str
    since: datetime
    environment: str = ""
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    affected: Sequence[str] = ()
    caused_by: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Notification:
    """What is told at once on one channel: about one alert, or about several that belong together. `id` is the
    receiver's key against doubles. `payload` is the JSON text that receivers get."""

    id: str
    event: Event
    alerts: tuple[ToldAlert, ...]
    hub: str
    payload: str = field(default="", repr=False)

    @property
    def severity(self) -> Severity:
        """That of the worst alert."""
        return max((alert.severity for alert in self.alerts), key=list(Severity).index)

    @property
    def title(self) -> str:
        """One line: what is told, of what, and how badly."""
        first = self.alerts[0]
        others = f" and {len(self.alerts) - 1} more" if len(self.alerts) > 1 else ""
        title = f"{_HEADINGS[self.event]} {self.severity.value}: {_place(first)}{others}: {first.summary}"
        return on_one_line(title, LONGEST_TITLE)

    @property
    def body(self) -> str:
        """Plain text for people, a paragraph for each of the first alerts."""
        paragraphs = [_paragraph(self.event, alert) for alert in self.alerts[:SHOWN_ALERTS]]
        if (more := len(self.alerts) - SHOWN_ALERTS) > 0:
            paragraphs.append(f"And {more} more: `central-hub alerts` lists all.")
        return "\n\n".join(paragraphs)


_HEADINGS: Final = {Event.FIRING: "Firing,", Event.RESOLVED: "Resolved,", Event.TEST: "Test,"}


def on_one_line(text: str, longest: int) -> str:
    """The text without anything that would break the line, cut where it is long: reasons are written by whoever runs a
    service, and must not look as if the hub had told of something else."""
    if len(text) <= longest and text.isprintable():
        return text
    shown = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 4 * longest]).split())
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def compose(notification_id: str, event: Event, alerts: Sequence[ToldAlert], hub: str) -> Notification:
    """What is told of at least one alert; `hub` is the name that the hub's receivers know it by."""
    told = Notification(notification_id, event, tuple(alerts), hub)
    payload = {
        "version": VERSION,
        "id": told.id,
        "event": told.event.value,
        "severity": told.severity.value,
        "title": told.title,
        "hub": told.hub,
        "alerts": [_described(alert) for alert in told.alerts],
    }
    return replace(told, payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")))


def size_of(alert: ToldAlert) -> int:
    """How many bytes an alert takes in the payload."""
    return len(json.dumps(_described(alert), ensure_ascii=False).encode())


def read(payload: str) -> Notification:
    """A notification as it was stored, by this version of the hub or another one. Raises ValueError."""
    try:
        stored = json.loads(payload)
        if stored["version"] != VERSION:
            raise ValueError(f"it is of version {stored['version']}, and this hub knows version {VERSION}")
        alerts = tuple(_alert(told) for told in stored["alerts"])
        if not alerts:
            raise ValueError("it tells of nothing")
        return Notification(_text(stored["id"]), Event(stored["event"]), alerts, _text(stored["hub"]), payload)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is not a notification of this hub") from error


def for_test(notification_id: str, channel: str, hub: str, *, by: str, at: datetime) -> Notification:
    """What a channel is tried with."""
    alert = ToldAlert(
        id=notification_id,
        rule="test",
        severity=Severity.INFO,
        subject=channel,
        state=Event.TEST,
        summary=f"{by} tries the channel {channel}",
        reason="nothing is amiss: whoever reads this is reached",
        since=at,
    )
    return compose(notification_id, Event.TEST, [alert], hub)


def _described(alert: ToldAlert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "rule": alert.rule,
        "severity": alert.severity.value,
        "subject": alert.subject,
        "environment": alert.environment,
        "state": alert.state,
        "summary": alert.summary,
        "reason": alert.reason,
        "since": _written(alert.since),
        "fired_at": _written(alert.fired_at),
        "resolved_at": _written(alert.resolved_at),
        "labels": dict(alert.labels),
        "affected": list(alert.affected),
        "caused_by": list(alert.caused_by),
    }


def _alert(told: Mapping[str, Any]) -> ToldAlert:
    return ToldAlert(
        id=_text(told["id"]),
        rule=_text(told["rule"]),
        severity=Severity(told["severity"]),
        subject=_text(told["subject"]),
        environment=_text(told["environment"]),
        state=_text(told["state"]),
        summary=_text(told["summary"]),
        reason=_text(told["reason"]),
        since=datetime.fromisoformat(told["since"]),
        fired_at=_moment(told["fired_at"]),
        resolved_at=_moment(told["resolved_at"]),
        labels={_text(name): _text(value) for name, value in told["labels"].items()},
        affected=tuple(map(_text, told["affected"])),
        caused_by=tuple(map(_text, told["caused_by"])),
    )


def _text(value: Any) -> str:
    """A text that can be sent. Raises TypeError, or ValueError for half a character."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    value.encode()
    return value


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _place(alert: ToldAlert) -> str:
    return f"{alert.subject} in {alert.environment}" if alert.environment else alert.subject


def _paragraph(event: Event, alert: ToldAlert) -> str:
    lines = [alert.summary, f"{_place(alert)}, rule {alert.rule}, {alert.severity.value}"]
    if alert.reason and alert.reason not in alert.summary:
        lines.append(f"Why: {alert.reason}")
    lines.append(f"Since {_short(alert.since)}")
    if event is Event.RESOLVED and alert.resolved_at is not None:
        lines[-1] += f", over since {_short(alert.resolved_at)}"
    if alert.affected:
        more = len(alert.affected) - SHOWN_AFFECTED
        lines.append(f"Hit: {', '.join(alert.affected[:SHOWN_AFFECTED])}" + (f" and {more} more" if more > 0 else ""))
    if alert.caused_by:
        lines.append(f"Because of: {', '.join(alert.caused_by)}")
    if alert.labels:
        lines.append(", ".join(f"{name}: {value}" for name, value in sorted(alert.labels.items())))
    return "\n".join(on_one_line(line, LONGEST_LINE) for line in lines)


def _short(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
