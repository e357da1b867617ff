"""How long a revision takes until an instance runs it, and what is no measurement of that."""

from datetime import timedelta

import pytest

from central_hub.coordination.time_to_apply import MAX_COMMITS, MAX_EARLY, TimeToApply
from central_hub.storage.instance_values import Stance
from central_hub_client.wire import Position
from tests.unit.coordination.fleet_members import NOW, instance


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@pytest.fixture
def seen() -> list[float]:
    return []


@pytest.fixture
def times(seen: list[float]) -> TimeToApply:
    """One that knows revisions 1.5 and 1.6, committed one and two seconds from now."""
    made = TimeToApply(seen.append)
    made.committed(Position(1, 5), NOW + after(1))
    made.committed(Position(1, 6), NOW + after(2))
    return made


def running(epoch: int, revision: int) -> Stance:
    return Stance(Position(epoch, revision))


def test_it_is_the_time_from_the_commit_to_the_report(times: TimeToApply, seen: list[float]) -> None:
    times.applied(instance(stance=running(1, 4)), Position(1, 6), NOW + after(2.5))
    times.applied(instance(), Position(1, 5), NOW + after(4))
    assert seen == [0.5, 3.0]


def test_a_report_that_comes_before_its_commit_waits_for_it(times: TimeToApply, seen: list[float]) -> None:
    times.applied(instance(stance=running(1, 6)), Position(1, 8), NOW + after(9))
    times.applied(instance(stance=running(1, 6)), Position(1, 7), NOW + after(9))
    times.committed(Position(1, 7), NOW + after(8.5))
    assert seen == [0.5]
    times.committed(Position(1, 8), NOW + after(8.75))
    times.committed(Position(1, 8), NOW + after(8.75))
    assert seen == [0.5, 0.25]


@pytest.mark.parametrize(
    ("stance", "position"),
    [
        (running(1, 6), Position(1, 6)),
        (running(1, 6), Position(1, 5)),
        (running(1, 3), Position(1, 4)),  # committed before anybody here can remember
        (running(0, 6), Position(1, 6)),  # a new epoch, old content
    ],
)
def test_what_is_no_news_is_not_counted(
    times: TimeToApply, seen: list[float], stance: Stance, position: Position
) -> None:
    times.applied(instance(stance=stance), position, NOW + after(10))
    assert seen == []


def test_an_instance_that_started_after_the_commit_tells_nothing(times: TimeToApply, seen: list[float]) -> None:
    times.applied(instance(registered_at=NOW + after(2.5)), Position(1, 6), NOW + after(3))
    assert seen == []


def test_clocks_that_are_apart_never_make_it_negative(times: TimeToApply, seen: list[float]) -> None:
    times.applied(instance(), Position(1, 6), NOW + after(1.9))
    assert seen == [0.0]


def test_what_is_kept_is_bounded_whatever_instances_say(times: TimeToApply, seen: list[float]) -> None:
    for number in range(MAX_EARLY + 10):
        times.applied(instance(), Position(1, 10**9 + number), NOW + after(3))
    for number in range(7, MAX_COMMITS + 7):
        times.committed(Position(1, number), NOW + after(3))
    times.applied(instance(), Position(1, 6), NOW + after(3))
    assert seen == []
    times.applied(instance(), Position(1, MAX_COMMITS + 6), NOW + after(4))
    assert seen == [1.0]
    times.committed(Position(1, 10**9), NOW + after(3))  # the first ones were dropped for the last
    times.committed(Position(1, 10**9 + MAX_EARLY + 9), NOW + after(3))
    assert seen == [1.0, 0.0]
