from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from examples.polygon_historical_downloader.periods import Period, contains, merge, subtract

periods = st.builds(lambda start, length: Period(start, start + length), st.integers(0, 60), st.integers(0, 20))


def covered(given_periods: list[Period]) -> set[int]:
    return {moment for period in given_periods for moment in range(period.start, period.end)}


@given(st.lists(periods, max_size=8))
def test_merging_keeps_the_time_and_leaves_nothing_that_touches(some: list[Period]) -> None:
    merged = merge(some)
    assert covered(merged) == covered(some)
    assert all(before.end < after.start for before, after in pairwise(merged))


@given(periods, st.lists(periods, max_size=8))
def test_what_is_left_and_what_is_taken_make_up_the_whole(whole: Period, taken: list[Period]) -> None:
    left = subtract(whole, taken)
    assert covered(left) == covered([whole]) - covered(taken)
    assert left == merge(left)
    assert all(period.start < period.end and contains(whole, period) for period in left)
