"""Hold a page against what any page must be before it is stored. Pure."""

import math
from collections.abc import Sequence

from .periods import Period
from .polygon_api import Bar
from .timeframes import Timeframe


def objection(bars: Sequence[Bar], timeframe: Timeframe, period: Period) -> str | None:
    """What is wrong with the page that answers for `period`, in words; None if nothing is."""
    before = None
    for bar in bars:
        if not period.start <= bar.start < period.end:
            return f"the bar at {bar.start} lies outside the period asked for"
        if timeframe.floor(bar.start) != bar.start:
            return f"the bar at {bar.start} does not start where a {timeframe} bar starts"
        if before is not None and bar.start <= before:
            return f"the bar at {bar.start} is out of order"
        # Each price on its own: min and max skip a NaN, a comparison does not.
        if not all(0 < bar.low <= price <= bar.high < math.inf for price in (bar.open, bar.close)):
            return f"the bar at {bar.start} contradicts itself"
        before = bar.start
    return None
