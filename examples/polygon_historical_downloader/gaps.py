"""Find the bars that should be there and are not. Pure."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import groupby

from .instruments import Instrument
from .periods import Period
from .timeframes import DAY, Timeframe


@dataclass(frozen=True, order=True, slots=True)
class Gap:
    """A run of missing bars with no present one between them; `period` ends where the last missing slot ends."""

    period: Period
    missing: int

    @property
    def days(self) -> float:
        return (self.period.end - self.period.start) / DAY


def expected_slots(instrument: Instrument, timeframe: Timeframe, period: Period) -> list[int]:
    """The slots of `period` (aligned to the timeframe) in which the instrument certainly traded."""
    step = timeframe.milliseconds
    return [slot for slot in range(period.start, period.end, step) if instrument.trades_in(slot, slot + step)]


def find(expected: Sequence[int], present: Container[int], timeframe: Timeframe, threshold: float) -> list[Gap]:
    """The gaps among the `expected` slots (ascending).

    Completeness is the share of expected bars that are present: of each day for intraday timeframes, of the whole
    stretch for longer ones. Where it reaches `threshold`, missing bars are nobody's concern.
    """
    missing: set[int] = set()
    for _, group in groupby(expected, key=lambda slot: slot // DAY if timeframe.is_intraday else 0):
        slots = list(group)
        absent = [slot for slot in slots if slot not in present]
        if len(slots) - len(absent) < threshold * len(slots):
            missing.update(absent)
    gaps = []
    # Runs are taken over all days at once: a gap of a week is one gap, weekends included.
    for is_missing, group in groupby(expected, key=lambda slot: slot in missing):
        if is_missing:
            run = list(group)
            gaps.append(Gap(Period(run[0], run[-1] + timeframe.milliseconds), len(run)))
    return gaps
