from datetime import UTC, datetime, timedelta, timezone

import pytest

from examples.polygon_historical_downloader.schedule import Schedule

MONDAY_EVENING = datetime(2026, 11, 23, 20, 17, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 2 * * *", datetime(2026, 11, 24, 2, 0, tzinfo=UTC)),
        ("* * * * *", datetime(2026, 11, 23, 20, 18, tzinfo=UTC)),
        ("*/15 * * * *", datetime(2026, 11, 23, 20, 30, tzinfo=UTC)),
        ("5/20 20 * * *", datetime(2026, 11, 23, 20, 25, tzinfo=UTC)),
        ("10,40 1-3 * * *", datetime(2026, 11, 24, 1, 10, tzinfo=UTC)),
        ("0 0 1 1 *", datetime(2027, 1, 1, 0, 0, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, 0, 0, tzinfo=UTC)),
        ("30 6 * * 0", datetime(2026, 11, 29, 6, 30, tzinfo=UTC)),
        ("30 6 * * 7", datetime(2026, 11, 29, 6, 30, tzinfo=UTC)),
        ("0 12 * * 1-5/2", datetime(2026, 11, 25, 12, 0, tzinfo=UTC)),
    ],
)
def test_the_next_run_is_the_first_minute_that_fits(text: str, expected: datetime) -> None:
    assert Schedule.parse(text).next_after(MONDAY_EVENING) == expected


def test_a_run_is_never_due_again_in_its_own_minute() -> None:
    at_two = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    assert Schedule.parse("0 2 * * *").next_after(at_two) == at_two + timedelta(days=1)


def test_where_both_day_fields_are_given_a_day_that_fits_either_fits() -> None:
    # The 27th is a Friday; the 1st of December comes before the Friday after it.
    schedule = Schedule.parse("0 0 1 * 5")
    first = schedule.next_after(MONDAY_EVENING)
    assert [first.day, schedule.next_after(first).day] == [27, 1]


def test_a_moment_in_another_zone_is_the_same_moment() -> None:
    there = MONDAY_EVENING.astimezone(timezone(timedelta(hours=9)))
    assert Schedule.parse("0 2 * * *").next_after(there) == datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "0 2 * *", "0 2 * * * *", "60 * * * *", "* 24 * * *", "0 0 0 * *", "0 0 * 13 *", "* * * * 8", "*/0 * * * *"],
)
def test_a_field_that_is_missing_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule.parse(text)


@pytest.mark.parametrize(
    "text", ["5-1 * * * *", "a * * * *", "@daily", "-1 * * * *", "1, * * * *", "0 0 31 2 *", "² * * * *", "1/ * * * *"]
)
def test_what_is_not_a_schedule_or_never_runs_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule.parse(text)
