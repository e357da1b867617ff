from dataclasses import replace

import pytest

from examples.polygon_historical_downloader.periods import Period
from examples.polygon_historical_downloader.polygon_api import Bar
from examples.polygon_historical_downloader.timeframes import HOUR, Timeframe
from examples.polygon_historical_downloader.verification import objection

DAY = Period(0, 24 * HOUR)


def bar(start: int) -> Bar:
    return Bar(start, open=1.10, high=1.12, low=1.09, close=1.11, volume=5, vwap=None, trades=None)


def test_a_sound_page_meets_no_objection() -> None:
    assert objection([bar(0), bar(HOUR), bar(5 * HOUR)], Timeframe.H1, DAY) is None
    assert objection([], Timeframe.H1, DAY) is None


@pytest.mark.parametrize(
    ("bars", "words"),
    [
        ([bar(-HOUR)], "outside"),
        ([bar(24 * HOUR)], "outside"),
        ([bar(HOUR // 2)], "does not start"),
        ([bar(HOUR), bar(0)], "out of order"),
        ([bar(HOUR), bar(HOUR)], "out of order"),
        ([replace(bar(0), high=1.0)], "contradicts"),
        ([replace(bar(0), low=1.105)], "contradicts"),
        ([replace(bar(0), low=0.0)], "contradicts"),
        ([replace(bar(0), close=float("nan"))], "contradicts"),
    ],
)
def test_a_page_that_cannot_be_right_is_objected_to(bars: list[Bar], words: str) -> None:
    assert words in (objection(bars, Timeframe.H1, DAY) or "")
