"""The time by which leases and targets are judged: the store's. All replicas have the same, whatever their own clocks
say."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

TOLERANCE: Final = timedelta(seconds=0.5)
"""How far it may be from the store's: the answer that told that took a while."""


class StoreClock:
    """Goes on by this machine's monotonic clock, which nobody sets, from what the store last said."""

    def __init__(self) -> None:
        self._origin = datetime.now(UTC) - _running()

    def __call__(self) -> datetime:
        return self._origin + _running()

    def follow(self, told: datetime) -> None:
        """Take over the store's time, which was told just now."""
        if abs(told - self()) > TOLERANCE:
            self._origin = told - _running()


def _running() -> timedelta:
    return timedelta(seconds=time.monotonic())
