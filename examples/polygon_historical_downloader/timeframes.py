"""The bar lengths this service knows, and how their slots lie on the time line. Pure.

Times are integers: milliseconds since the epoch, UTC, as in the API and in the database. A slot is named by its start.
"""

from enum import StrEnum
from typing import Final, Self

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY

# 1970-01-01 was a Thursday; weeks start on Sunday, as the API's do.
_FIRST_SUNDAY: Final = 3 * DAY


class Timespan(StrEnum):
    """The API's word for the unit of a bar."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    @property
    def milliseconds(self) -> int:
        return {Timespan.MINUTE: MINUTE, Timespan.HOUR: HOUR, Timespan.DAY: DAY, Timespan.WEEK: WEEK}[self]


class Timeframe(StrEnum):
    """The length of a bar. Every one divides the day, or is made of whole days, so that slots never straddle a day."""

    M1 = "1m"
    M2 = "2m"
    M3 = "3m"
    M5 = "5m"
    M10 = "10m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H3 = "3h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    W1 = "1w"

    @classmethod
    def of(cls, multiplier: int, timespan: Timespan) -> Self:
        """The timeframe of `multiplier` × `timespan`. Raises ValueError where there is none."""
        return cls(f"{multiplier}{timespan[0]}")

    @property
    def multiplier(self) -> int:
        return int(self[:-1])

    @property
    def timespan(self) -> Timespan:
        return next(timespan for timespan in Timespan if timespan[0] == self[-1])

    @property
    def milliseconds(self) -> int:
        return self.multiplier * self.timespan.milliseconds

    @property
    def is_intraday(self) -> bool:
        return self.milliseconds < DAY

    def floor(self, moment: int) -> int:
        """The start of the slot that `moment` lies in."""
        offset = _FIRST_SUNDAY if self is Timeframe.W1 else 0
        return moment - (moment - offset) % self.milliseconds
