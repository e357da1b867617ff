from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.polygon_historical_downloader import gaps
from examples.polygon_historical_downloader.instruments import Instrument
from examples.polygon_historical_downloader.periods import Period
from examples.polygon_historical_downloader.timeframes import DAY, HOUR, Timeframe

EURO = Instrument("EURUSD")


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


WEEK = Period(moment("2026-11-15"), moment("2026-11-22"))  # Sunday to Saturday
HOURS = gaps.expected_slots(EURO, Timeframe.H1, WEEK)
DAYS = gaps.expected_slots(EURO, Timeframe.D1, WEEK)


def test_a_week_of_currencies_has_a_hundred_and_nineteen_certain_hours_and_six_days() -> None:
    # Sunday 22:00 to Friday 21:00.
    assert len(HOURS) == 2 + 4 * 24 + 21
    assert len(DAYS) == 6


def test_nothing_is_missing_where_every_expected_bar_is_present() -> None:
    assert gaps.find(HOURS, set(HOURS), Timeframe.H1, 1.0) == []


def test_bars_that_nobody_expected_hide_no_gap() -> None:
    present = set(range(WEEK.start, WEEK.end, HOUR)) - {moment("2026-11-17T10:00")}
    assert [gap.missing for gap in gaps.find(HOURS, present, Timeframe.H1, 1.0)] == [1]


def test_missing_bars_in_a_row_are_one_gap_also_over_a_weekend() -> None:
    period = Period(WEEK.start, WEEK.end + 2 * DAY)
    expected = gaps.expected_slots(EURO, Timeframe.H1, period)
    lost = Period(moment("2026-11-20T19:00"), moment("2026-11-22T23:00"))
    present = {slot for slot in expected if not lost.start <= slot < lost.end}
    assert gaps.find(expected, present, Timeframe.H1, 1.0) == [gaps.Gap(lost, missing=3)]


def test_a_present_bar_parts_two_gaps() -> None:
    ten, eleven, twelve = (moment(f"2026-11-17T{hour}:00") for hour in (10, 11, 12))
    found = gaps.find(HOURS, set(HOURS) - {ten, twelve}, Timeframe.H1, 1.0)
    assert found == [gaps.Gap(Period(ten, eleven), 1), gaps.Gap(Period(twelve, twelve + HOUR), 1)]


@pytest.mark.parametrize(("threshold", "gap_count"), [(1.0, 1), (23 / 24, 0), (0.9, 0)])
def test_an_intraday_day_that_is_complete_enough_has_no_gap(threshold: float, gap_count: int) -> None:
    present = set(HOURS) - {moment("2026-11-17T10:00")}
    assert len(gaps.find(HOURS, present, Timeframe.H1, threshold)) == gap_count


def test_each_intraday_day_is_judged_for_itself() -> None:
    tuesday = {slot for slot in HOURS if moment("2026-11-17") <= slot < moment("2026-11-18T00:00")}
    found = gaps.find(HOURS, set(HOURS) - tuesday, Timeframe.H1, 0.5)
    assert [gap.missing for gap in found] == [24]  # a fifth of the week, but all of a day


@pytest.mark.parametrize(("lost_days", "gap_count"), [(1, 0), (2, 1)])
def test_days_are_judged_together(lost_days: int, gap_count: int) -> None:
    # Five of six days are more than 80 %, four of six are less.
    assert len(gaps.find(DAYS, set(DAYS[lost_days:]), Timeframe.D1, 0.8)) == gap_count


def test_a_gap_knows_its_length_in_days() -> None:
    assert gaps.Gap(Period(0, 3 * DAY // 2), 18).days == 1.5


@given(st.sets(st.sampled_from(HOURS)))
def test_with_a_threshold_of_one_the_gaps_are_exactly_what_is_missing(lost: set[int]) -> None:
    found = gaps.find(HOURS, set(HOURS) - lost, Timeframe.H1, 1.0)
    assert sum(gap.missing for gap in found) == len(lost)
    assert all(any(gap.period.start <= slot < gap.period.end for gap in found) for slot in lost)
