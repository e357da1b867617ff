"""What a symbol is: its ticker at the API, the class it belongs to, and the hours it trades. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .timeframes import DAY, HOUR, WEEK, Timeframe

# A bare symbol is a currency or metal pair (`C:`); crypto pairs are written with their prefix (`X:BTCUSD`).
SYMBOL_PATTERN: Final = r"^(C:|X:)?[A-Z]{6,10}$"

_METALS: Final = ("XAU", "XAG", "XPT", "XPD")

# When trade is certain, as offsets into a week that starts on Sunday 00:00 UTC. Currencies trade from Sunday 17:00 to
# Friday 17:00 in New York, which is an hour earlier in UTC in summer than in winter: only hours that are open all year
# count. Metals also pause from 17:00 to 18:00 every day. Crypto never closes.
_CURRENCY_WEEK: Final = ((22 * HOUR, 5 * DAY + 21 * HOUR),)
_METAL_WEEK: Final = tuple((day * DAY + 23 * HOUR, (day + 1) * DAY + 21 * HOUR) for day in range(5))
_CRYPTO_WEEK: Final = ((0, WEEK),)


class PairClass(StrEnum):
    """The class whose granularity (`download.granularity.<class>`) applies to a symbol."""

    TRADING = "trading_pairs"
    ANALYSIS = "analysis_pairs"
    CONFIRMATION = "confirmation_pairs"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol as configured, understood."""

    symbol: str

    @property
    def ticker(self) -> str:
        return self.symbol if ":" in self.symbol else f"C:{self.symbol}"

    @property
    def pair_class(self) -> PairClass:
        """Pairs with the dollar are traded, crosses without it are analysed, crypto confirms."""
        if self.ticker.startswith("X:"):
            return PairClass.CONFIRMATION
        return PairClass.TRADING if "USD" in self.symbol else PairClass.ANALYSIS

    def trades_in(self, start: int, end: int) -> bool:
        """Whether trade is certain in part of [start, end), which is no longer than a week."""
        sunday = Timeframe.W1.floor(start)
        return any(
            start < week + closes and end > week + opens
            for week in (sunday, sunday + WEEK)
            for opens, closes in self._trading_week
        )

    @property
    def _trading_week(self) -> tuple[tuple[int, int], ...]:
        if self.pair_class is PairClass.CONFIRMATION:
            return _CRYPTO_WEEK
        return _METAL_WEEK if self.ticker.removeprefix("C:").startswith(_METALS) else _CURRENCY_WEEK
