"""What is downloaded: the bars of one symbol in one timeframe, and which of them the settings ask for. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from .dates import resolve
from .instruments import Instrument
from .periods import Period
from .settings import Settings
from .timeframes import Timeframe


@dataclass(frozen=True, slots=True)
class Series:
    symbol: str
    timeframe: Timeframe

    @property
    def instrument(self) -> Instrument:
        return Instrument(self.symbol)

    def __str__(self) -> str:
        return f"{self.symbol}/{self.timeframe}"


def wanted_series(settings: Settings) -> list[Series]:
    """Every configured symbol in every configured timeframe that is not finer than its class's granularity.

    The granularity itself is always wanted: the finest bars are the ones from which others can be rebuilt.
    """
    wanted: dict[Series, None] = {}
    for symbol in settings.operational.symbols:
        finest = settings.download.granularity.of(Instrument(symbol).pair_class).finest
        for timeframe in (finest, *settings.operational.timeframes):
            if timeframe.milliseconds >= finest.milliseconds:
                wanted[Series(symbol, timeframe)] = None
    return list(wanted)


def wanted_period(timeframe: Timeframe, settings: Settings, now: datetime) -> Period:
    """From the slot of `start_date` to the end of `end_date`, but only bars that are complete at `now` (aware).

    Empty (start = end) where nothing is complete yet.
    """
    today = now.astimezone(UTC).date()
    start = timeframe.floor(_midnight(resolve(settings.download.start_date, today)))
    end = _midnight(resolve(settings.download.end_date, today) + timedelta(days=1))
    end = timeframe.floor(min(end, int(now.timestamp() * 1000)))
    return Period(start, max(start, end))


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1000
