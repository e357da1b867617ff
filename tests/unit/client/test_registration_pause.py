"""When an instance comes again that could not register: not together with all the others."""

import pytest

from central_hub_client.errors import HubUnreachable, error_from
from central_hub_client.registration import LONGEST_BACKOFF_SECONDS, MOST_SPREAD_SECONDS, new_backoff, pause_after
from central_hub_client.wire import ErrorCode

TURNED_AWAY = {"code": ErrorCode.RATE_LIMITED}
TIMES = 300


@pytest.mark.parametrize(("told", "at_most"), [(1.0, 2.0), (8.0, 10.0), (60.0, 60.0 + MOST_SPREAD_SECONDS)])
def test_who_is_told_when_to_come_comes_then_or_a_little_later(told: float, at_most: float) -> None:
    error = error_from(429, TURNED_AWAY, retry_after_seconds=told)
    backoff = new_backoff()
    pauses = [pause_after(error, backoff) for _ in range(TIMES)]
    assert told <= min(pauses) < told + 0.1 * (at_most - told)
    assert at_most - 0.1 * (at_most - told) < max(pauses) <= at_most


def test_being_turned_away_again_and_again_makes_nobody_wait_longer_than_he_is_told() -> None:
    backoff = new_backoff()
    for _ in range(10):
        pause_after(error_from(429, TURNED_AWAY, retry_after_seconds=3.0), backoff)
    assert pause_after(HubUnreachable("nobody answers"), backoff) <= 1.0


def test_while_there_is_no_store_the_pauses_grow_whatever_the_hub_wishes() -> None:
    error = error_from(503, {"code": ErrorCode.STORE_UNAVAILABLE}, retry_after_seconds=1.0)
    backoff = new_backoff()
    pauses = [pause_after(error, backoff) for _ in range(10)]
    assert 1.0 <= pauses[0] <= 2.0
    assert LONGEST_BACKOFF_SECONDS / 2 <= pauses[-1] <= LONGEST_BACKOFF_SECONDS


def test_after_a_long_outage_all_are_back_within_the_longest_pause() -> None:
    backoff = new_backoff()
    for _ in range(20):
        assert pause_after(HubUnreachable("nobody answers"), backoff) <= LONGEST_BACKOFF_SECONDS < 60
