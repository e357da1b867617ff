"""Half-open stretches of time and what is left of one when others are taken away. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class Period:
    """[start, end) in milliseconds since the epoch."""

    start: int
    end: int


def merge(periods: Iterable[Period]) -> list[Period]:
    """The same time in the fewest periods, in order: those that overlap or touch become one, empty ones none."""
    merged: list[Period] = []
    for period in sorted(periods):
        if period.start == period.end:
            continue
        if merged and period.start <= merged[-1].end:
            merged[-1] = Period(merged[-1].start, max(merged[-1].end, period.end))
        else:
            merged.append(period)
    return merged


def subtract(whole: Period, taken: Iterable[Period]) -> list[Period]:
    """What of `whole` is in none of `taken`, in order."""
    left = []
    start = whole.start
    for period in merge(taken):
        if period.end <= start or period.start >= whole.end:
            continue
        if period.start > start:
            left.append(Period(start, period.start))
        start = period.end
    if start < whole.end:
        left.append(Period(start, whole.end))
    return left


def contains(whole: Period, part: Period) -> bool:
    """Whether all of `part` lies in `whole`."""
    return whole.start <= part.start and part.end <= whole.end
