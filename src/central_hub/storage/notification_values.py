"""What the table of notifications holds, as values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NotificationState(StrEnum):
    """What became of a notification."""

    DUE = "due"
    """Not delivered yet: it is tried, or will be."""
    SENT = "sent"
    DEAD = "dead"
    """Given up, until somebody has it sent again."""


@dataclass(frozen=True, slots=True)
class NewNotification:
    """Something to tell on a channel. `id` is the receiver's key against doubles; `payload` is the JSON text that all
    attempts send."""

    id: str
    channel: str
    payload: str


@dataclass(frozen=True, slots=True)
class Notification:
    """One that is stored. `attempts` counts the one that is being made; `error` is why the last one failed."""

    id: str
    channel: str
    payload: str
    state: NotificationState
    created_at: datetime
    due_at: datetime
    attempts: int
    error: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Counted:
    """How many wait to be delivered, and how many were given up."""

    due: int
    dead: int
