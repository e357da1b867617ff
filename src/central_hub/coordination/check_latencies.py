"""How long the health endpoints of each service take to answer, over the last minutes. Pure.

Latencies are counted in buckets whose bounds grow by a constant factor (as in DDSketch: Masson, Rim and Lee, 2019), one
set for each minute. A percentile is that of the nearest rank, to within `ACCURACY` of its value; what is kept does not
grow with the number of checks.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil, log
from typing import Final

from central_hub.coordination.fleet import Place
from central_hub.storage.instance_values import Instance, Key

ACCURACY: Final = 0.02
WINDOWS: Final = (1, 5, 60)
"""In minutes. Each holds the minute that runs as well: a window of five is five to six minutes long."""
LEAST_MS: Final = 0.01
MOST_MS: Final = 60_000.0
"""What lies beyond these counts as these: no check takes so short, or so long."""

_GROWTH: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GROWTH: Final = log(_GROWTH)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of `samples` answers, in milliseconds; None where there was none."""

    samples: int
    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, buckets: Mapping[int, int]) -> "Percentiles":
        samples = sum(buckets.values())
        if samples == 0:
            return cls(0, None, None, None)
        ordered = sorted(buckets.items())
        return cls(samples, *(_percentile(ordered, ceil(percent * samples / 100)) for percent in (50, 95, 99)))


class CheckLatencies:
    """Fed with the instances as they are seen: the results of all replicas come with them."""

    def __init__(self) -> None:
        self._seen: dict[Key, datetime] = {}
        self._minutes: dict[Place, dict[int, Counter[int]]] = {}

    def see(self, instances: Mapping[Key, Instance], now: datetime) -> None:
        """Count the results that are new, of all instances that there are: the others are forgotten."""
        seen: dict[Key, datetime] = {}
        oldest = _minute(now) - WINDOWS[-1]
        for key, instance in instances.items():
            check = instance.check
            if check is None:
                continue
            before = self._seen.get(key)
            seen[key] = check.at
            if check.latency_ms is None or (before is not None and check.at <= before):
                continue
            if (minute := _minute(check.at)) >= oldest:
                minutes = self._minutes.setdefault(key[:2], {})
                minutes.setdefault(minute, Counter())[bucket(check.latency_ms)] += 1
        self._seen = seen

    def forget(self, now: datetime) -> None:
        """Drop the minutes that no window reaches any more."""
        oldest = _minute(now) - WINDOWS[-1]
        for place, minutes in list(self._minutes.items()):
            for minute in [minute for minute in minutes if minute < oldest]:
                del minutes[minute]
            if not minutes:
                del self._minutes[place]

    def of_service(self, place: Place, now: datetime) -> dict[int, Percentiles]:
        """The percentiles of each window."""
        minutes = self._minutes.get(place, {})
        current = _minute(now)
        newest_first = sorted(minutes, reverse=True)
        merged: Counter[int] = Counter()
        found: dict[int, Percentiles] = {}
        for window in WINDOWS:
            while newest_first and newest_first[0] >= current - window:
                for index, count in minutes[newest_first.pop(0)].items():
                    merged[index] += count
            found[window] = Percentiles.of(merged)
        return found


def bucket(latency_ms: float) -> int:
    """The number of the bucket that holds a latency."""
    return ceil(log(min(max(latency_ms, LEAST_MS), MOST_MS)) / _LOG_GROWTH)


def _percentile(ordered: list[tuple[int, int]], rank: int) -> float:
    passed = 0
    for index, count in ordered:
        passed += count
        if passed >= rank:
            # In relative terms as far from the lower bound of the bucket as from the upper one.
            return float(2 * _GROWTH**index / (_GROWTH + 1))
    raise AssertionError("there are fewer samples than the rank")


def _minute(moment: datetime) -> int:
    return int(moment.timestamp() // 60)
