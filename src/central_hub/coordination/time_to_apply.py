"""How long a revision takes from its commit until an instance says that it runs it. Pure.

The replica that an instance tells counts it: the sum over all replicas is the fleet. A report that gets here before its
commit (this replica follows the log, and may be a moment behind) waits for it. Of two hosts with clocks apart, the
difference is in the figure.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from central_hub.storage.instance_values import Instance
from central_hub_client.wire import Position

MAX_COMMITS: Final = 10_000
"""The latest ones: an instance that is further behind was away, and is not what the figure is about."""
MAX_EARLY: Final = 5_000
"""Reports of revisions that are not known yet. Whoever may report may also name revisions that never come."""


class TimeToApply:
    """Tells `observe` the seconds of each instance and each revision that it says it applied."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._committed_at: dict[Position, datetime] = {}
        self._newest = Position(0, 0)
        self._early: dict[Position, list[tuple[Instance, datetime]]] = {}
        self._early_count = 0

    def committed(self, position: Position, at: datetime) -> None:
        """A revision can be read here. Told in the order of the log; what is known already changes nothing."""
        if position in self._committed_at:
            return
        self._committed_at[position] = at
        self._newest = max(self._newest, position)
        if len(self._committed_at) > MAX_COMMITS:
            del self._committed_at[next(iter(self._committed_at))]
        for instance, applied_at in self._take_early(position):
            self._count(instance, at, applied_at)

    def applied(self, instance: Instance, position: Position, at: datetime) -> None:
        """An instance, as it was known so far, says that it now runs a revision."""
        before = instance.stance.applied
        # A new epoch brings old content under new positions: nothing was committed when it began.
        if before is not None and (position <= before or position.epoch != before.epoch):
            return
        committed_at = self._committed_at.get(position)
        if committed_at is not None:
            self._count(instance, committed_at, at)
        elif position > self._newest:
            self._early.setdefault(position, []).append((instance, at))
            self._early_count += 1
            if self._early_count > MAX_EARLY:
                self._take_early(next(iter(self._early)))

    def _take_early(self, position: Position) -> list[tuple[Instance, datetime]]:
        early = self._early.pop(position, [])
        self._early_count -= len(early)
        return early

    def _count(self, instance: Instance, committed_at: datetime, applied_at: datetime) -> None:
        # An instance that started later began with this revision; how long ago it was committed tells nothing.
        if instance.registered_at <= committed_at:
            self._observe(max(0.0, (applied_at - committed_at).total_seconds()))
