"""What the tables of alerts and silences hold, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class AlertState(StrEnum):
    """How far an alert is."""

    PENDING = "pending"
    """The condition has not lasted long enough to be worth telling."""
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, order=True)
class Affected:
    """Who is hit by what an alert is about. `kind` is that of the condition. A component has no environment, nor has a
    service that does not show it yet."""

    kind: str
    subject: str
    environment: str

    def __str__(self) -> str:
        return f"{self.subject} in {self.environment}" if self.environment else self.subject


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is amiss, or was. At most one that is not resolved has the same fingerprint.

    `is_told` says whether it was handed to its channels since it fired, `notified_at` when it last was, in whatever
    state. `absent_since` is set while it fires and its condition is not seen any more. `caused_by` names the components
    whose alerts speak for this one, `freed_at` since when none of them does any more.
    """

    id: str
    fingerprint: str
    rule: str
    kind: str
    subject: str
    environment: str
    severity: str
    summary: str
    reason: str
    labels: Mapping[str, str]
    notify: tuple[str, ...]
    state: AlertState
    since: datetime
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    notified_at: datetime | None = None
    is_told: bool = False
    absent_since: datetime | None = None
    caused_by: tuple[str, ...] = ()
    freed_at: datetime | None = None
    affected: tuple[Affected, ...] = ()
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledgement: str | None = None
    replica: str = ""
    change: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Silence:
    """Whatever it fits is not told until it ends. `rule`, `subject` and `environment` fit any where they are None."""

    id: str
    rule: str | None
    subject: str | None
    environment: str | None
    reason: str
    created_at: datetime
    created_by: str
    until: datetime
    ended_at: datetime | None = None

    def fits(self, alert: Alert) -> bool:
        """Whether it is about this alert."""
        return (
            self.rule in (None, alert.rule)
            and self.subject in (None, alert.subject)
            and self.environment in (None, alert.environment)
        )

    def holds(self, now: datetime) -> bool:
        """Whether it has not ended, by itself or because somebody ended it."""
        return self.ended_at is None and now < self.until
