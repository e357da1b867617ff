"""Registrations that come together are let in by the hundred; the others each get a time of their own."""

from collections import Counter

import pytest

from central_hub.coordination.admission import BOOKED_A_SECOND, LATEST_SECONDS, MOST_WAITING, Admission
from central_hub.errors import TooManyRegistrations


def seconds_told(admission: Admission, now: float) -> int:
    with pytest.raises(TooManyRegistrations) as refused:
        admission.enter(now)
    return int(refused.value.headers["Retry-After"])


def full() -> Admission:
    admission = Admission()
    for _ in range(MOST_WAITING):
        admission.enter(0.0)
    return admission


def test_a_deployment_is_let_in_at_once_and_who_leaves_makes_room() -> None:
    admission = full()
    assert seconds_told(admission, 0.0) == 1
    admission.leave()
    admission.enter(0.0)
    assert seconds_told(admission, 0.0) == 1


def test_those_who_are_turned_away_are_spread_evenly() -> None:
    admission = full()
    told = Counter(seconds_told(admission, 0.0) for _ in range(9_000))
    assert set(range(1, 9_000 // BOOKED_A_SECOND + 1)) <= told.keys()
    assert max(told.values()) <= BOOKED_A_SECOND + 1


def test_times_that_have_passed_are_not_waited_for() -> None:
    admission = full()
    for _ in range(10 * BOOKED_A_SECOND):
        seconds_told(admission, 0.0)
    assert seconds_told(admission, 4.0) == 7
    assert seconds_told(admission, 100.0) == 1


def test_nobody_is_told_to_stay_away_for_longer_than_a_minute() -> None:
    admission = full()
    for _ in range(2 * LATEST_SECONDS * BOOKED_A_SECOND):
        told = seconds_told(admission, 0.0)
    assert told == LATEST_SECONDS
