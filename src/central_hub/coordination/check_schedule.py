"""Which instances this replica checks, and when. Pure.

Each is checked by one replica, and when that dies, by another.
"""

from collections.abc import Callable, Iterable
from typing import Final

from central_hub.rendezvous import chosen
from central_hub.storage.instance_values import Key

INTERVAL_SECONDS: Final = 10.0
_JITTER: Final = 0.1


class CheckSchedule:
    """Times are seconds of a clock that only goes forward."""

    def __init__(self, own_id: str, draw: Callable[[], float], *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.interval_seconds = interval_seconds
        self.own_id = own_id
        self._draw = draw
        self.replicas = frozenset({own_id})
        self._is_mine: dict[Key, bool] = {}
        self._next: dict[Key, float] = {}

    def share_with(self, replicas: Iterable[str]) -> None:
        """The replicas that are alive. This one is, whatever is said."""
        found = frozenset(replicas) | {self.own_id}
        if found != self.replicas:
            self.replicas = found
            self._is_mine.clear()

    def due(self, targets: Iterable[Key], now: float) -> list[Key]:
        """Those of all targets of the fleet that this replica is to check now, the longest due first.

        One that is new here has its turn within half an interval, so that those of a dead replica do not wait long,
        nor all come at once.
        """
        is_mine: dict[Key, bool] = {}
        upcoming: dict[Key, float] = {}
        for key in targets:
            mine = self._is_mine.get(key)
            is_mine[key] = mine = checker_of(key, self.replicas) == self.own_id if mine is None else mine
            if mine:
                at = self._next.get(key)
                upcoming[key] = now + self._draw() * self.interval_seconds / 2 if at is None else at
        self._is_mine, self._next = is_mine, upcoming
        return sorted((key for key, at in upcoming.items() if at <= now), key=upcoming.__getitem__)

    def begun(self, key: Key, now: float) -> None:
        """Its next turn is an interval from now, give or take a tenth."""
        self._next[key] = now + self.interval_seconds * (1 + _JITTER * (2 * self._draw() - 1))


def checker_of(key: Key, replicas: Iterable[str]) -> str:
    """Which of the replicas checks an instance."""
    return chosen("/".join(key), replicas)
