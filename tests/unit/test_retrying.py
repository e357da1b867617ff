"""When an attempt to tell somebody is repeated, in a time that passes as it is told to."""

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.monitoring.retrying import FIRST_SECONDS, LONGEST_SECONDS, MAX_ATTEMPTS, next_attempt

HOUR = 3600.0


def attempts_at(draw: float) -> list[float]:
    """The moments of all attempts of one that always fails, in seconds since the first."""
    moments, attempts = [0.0], 1
    while (pause := next_attempt(attempts, draw)) is not None:
        moments.append(moments[-1] + pause)
        attempts += 1
    return moments


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_it_is_given_up_after_about_a_day(draw: float) -> None:
    assert 18 * HOUR < attempts_at(draw)[-1] < 28 * HOUR


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_a_receiver_that_fails_for_an_hour_is_told_within_the_next(draw: float) -> None:
    failed = list(takewhile(lambda moment: moment < HOUR, attempts_at(draw)))
    told = attempts_at(draw)[len(failed)]
    assert HOUR <= told < 2 * HOUR
    assert 8 <= len(failed) <= 12


@pytest.mark.parametrize("draw", [0.0, 1.0])
def test_one_that_fails_for_a_moment_is_told_soon(draw: float) -> None:
    assert attempts_at(draw)[1] <= FIRST_SECONDS
    assert attempts_at(draw)[4] < 90


@given(st.integers(1, MAX_ATTEMPTS - 1), st.floats(0, 1), st.floats(0, 1))
def test_what_failed_together_is_spread_within_bounds(attempts: int, first: float, second: float) -> None:
    pauses = [next_attempt(attempts, draw) or 0.0 for draw in (first, second)]
    assert all(FIRST_SECONDS / 2 < pause <= LONGEST_SECONDS for pause in pauses)
    assert (pauses[0] < pauses[1]) == (first < second) or pauses[0] == pytest.approx(pauses[1])


def test_what_a_receiver_asks_for_is_granted_up_to_an_hour() -> None:
    assert next_attempt(1, 0.5, after_seconds=120) == 120
    assert next_attempt(1, 0.5, after_seconds=1) == next_attempt(1, 0.5)
    assert next_attempt(1, 0.5, after_seconds=-500) == next_attempt(1, 0.5)
    assert next_attempt(1, 0.5, after_seconds=10 * HOUR) == LONGEST_SECONDS
    assert next_attempt(MAX_ATTEMPTS, 0.5, after_seconds=120) is None
