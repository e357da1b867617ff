from datetime import UTC, datetime

import pytest

from examples.polygon_historical_downloader.instruments import Instrument, PairClass
from examples.polygon_historical_downloader.timeframes import DAY, HOUR, MINUTE, Timeframe, Timespan


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("symbol", "ticker", "pair_class"),
    [
        ("EURUSD", "C:EURUSD", PairClass.TRADING),
        ("XAUUSD", "C:XAUUSD", PairClass.TRADING),
        ("C:USDJPY", "C:USDJPY", PairClass.TRADING),
        ("EURGBP", "C:EURGBP", PairClass.ANALYSIS),
        ("X:BTCUSD", "X:BTCUSD", PairClass.CONFIRMATION),
    ],
)
def test_a_symbol_tells_its_ticker_and_its_class(symbol: str, ticker: str, pair_class: PairClass) -> None:
    instrument = Instrument(symbol)
    assert (instrument.ticker, instrument.pair_class) == (ticker, pair_class)


@pytest.mark.parametrize(
    ("symbol", "start", "trades"),
    [
        ("EURUSD", "2026-11-21T12:00", False),  # Saturday
        ("EURUSD", "2026-11-22T21:55", False),  # Sunday, before the opening in winter
        ("EURUSD", "2026-11-22T22:00", True),
        ("EURUSD", "2026-11-20T20:55", True),  # Friday, the last bar that summer and winter share
        ("EURUSD", "2026-11-20T21:00", False),
        ("EURUSD", "2026-11-18T21:30", True),
        ("XAUUSD", "2026-11-18T21:30", False),  # the daily pause of metals
        ("XAUUSD", "2026-11-18T23:00", True),
        ("X:BTCUSD", "2026-11-21T12:00", True),
    ],
)
def test_five_minutes_are_expected_to_trade_only_where_the_market_is_open(
    symbol: str, start: str, trades: bool
) -> None:
    begin = moment(start)
    assert Instrument(symbol).trades_in(begin, begin + 5 * MINUTE) is trades


def test_longer_bars_are_expected_where_any_part_of_them_trades() -> None:
    euro = Instrument("EURUSD")
    sunday, saturday = moment("2026-11-22"), moment("2026-11-21")
    assert euro.trades_in(sunday, sunday + DAY)
    assert not euro.trades_in(saturday, saturday + DAY)
    assert euro.trades_in(sunday + 20 * HOUR, sunday + DAY)
    assert euro.trades_in(saturday, saturday + 7 * DAY)  # reaches over the opening on Sunday


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_every_timeframe_is_found_by_its_multiplier_and_timespan(timeframe: Timeframe) -> None:
    assert Timeframe.of(timeframe.multiplier, timeframe.timespan) is timeframe


def test_there_is_no_timeframe_that_straddles_days() -> None:
    with pytest.raises(ValueError, match="7m"):
        Timeframe.of(7, Timespan.MINUTE)
    assert all(DAY % timeframe.milliseconds == 0 for timeframe in Timeframe if timeframe.is_intraday)


def test_slots_lie_on_the_clock_and_weeks_start_on_sunday() -> None:
    wednesday = moment("2026-11-18T13:37:42")
    assert Timeframe.M5.floor(wednesday) == moment("2026-11-18T13:35")
    assert Timeframe.H4.floor(wednesday) == moment("2026-11-18T12:00")
    assert Timeframe.D1.floor(wednesday) == moment("2026-11-18")
    assert Timeframe.W1.floor(wednesday) == moment("2026-11-15")
    assert Timeframe.W1.floor(moment("2026-11-15")) == moment("2026-11-15")
