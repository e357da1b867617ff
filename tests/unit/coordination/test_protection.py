"""Too many instances that fall silent at once are kept as they were; one that crashes is not."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.coordination.protection import LEAST, kept
from central_hub.coordination.registry import REMEMBERED_FOR, lease_ends
from central_hub.storage.instance_values import Drain, Instance
from central_hub_client.wire import HealthState
from tests.unit.coordination.fleet_members import NOW, instance

BEFORE = NOW - timedelta(hours=2)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def heard(name: str, ago: float, **changes: object) -> Instance:
    """One that was last heard so many seconds ago, with a lease of 30 seconds."""
    moment = NOW - seconds(ago)
    return instance(instance_id=name, seen_at=moment, leased_at=moment, registered_at=BEFORE, **changes)


def names(instances: list[Instance], share: float = 0.5, now: datetime = NOW) -> str:
    return "".join(sorted(key[2] for key in kept(instances, share, now)))


def test_a_fleet_that_falls_silent_at_once_is_kept() -> None:
    instances = [heard(name, 30 + number) for number, name in enumerate("abcdef")]
    assert names(instances) == "abcdef"


def test_the_first_whose_lease_ends_is_kept_already_as_the_others_are_overdue() -> None:
    first, overdue = heard("a", 30), [heard(name, 16 + number) for number, name in enumerate("bcdef")]
    assert names([first, *overdue]) == "a"
    assert names([first, *overdue, *(heard(name, 1) for name in "tuvwxy")]) == ""
    assert names([first, *overdue[:1]]) == ""


@pytest.mark.parametrize(("silent", "heard_of", "expected"), [(3, 3, ""), (4, 3, "abcd"), (2, 0, ""), (3, 0, "abc")])
def test_it_takes_more_than_the_share_and_more_than_a_few(silent: int, heard_of: int, expected: str) -> None:
    instances = [heard(name, 40) for name in "abcdefg"[:silent]] + [heard(name, 1) for name in "tuvwxyz"[:heard_of]]
    assert names(instances) == expected


def test_who_was_drained_before_falls_silent_on_purpose() -> None:
    drained = [heard(name, 40, drain=Drain("ops", BEFORE)) for name in "abcd"]
    assert names(drained) == ""
    assert names([*drained, heard("e", 40), heard("z", 1)]) == ""


def test_those_that_crash_one_after_the_other_are_not_kept_however_many_they_become() -> None:
    instances = [heard(name, 40 + 60 * number) for number, name in enumerate("abcdefgh")] + [heard("z", 1)]
    assert names(instances) == ""


def test_those_who_take_the_place_of_others_let_them_expire() -> None:
    gone = [heard(name, 60) for name in "abcd"]
    assert names(gone) == "abcd"
    assert names([*gone, *(heard(name, 1) for name in "uvw")]) == "abcd"
    assert names([*gone, *(heard(name, 1) for name in "uvwx")]) == ""


def test_who_says_goodbye_later_brings_nobody_back() -> None:
    silent, others = [heard(name, 60) for name in "abc"], [heard(name, 1) for name in "xyz"]
    assert names([*silent, *others]) == ""
    left = [replace(other, deregistered_at=NOW - seconds(1)) for other in others]
    assert names([*silent, *left]) == ""
    assert names([*silent, *(replace(other, deregistered_at=NOW - seconds(90)) for other in others)]) == "abc"


def test_only_those_that_could_be_called_are_kept_and_count() -> None:
    drained = [heard(name, 60, state=HealthState.DRAINING) for name in "tuvw"]
    assert names([heard("a", 60), heard("b", 60), *drained]) == ""
    assert names([heard("a", 60), heard("b", 60), heard("c", 60, state=HealthState.DEGRADED), *drained]) == "abc"


def test_a_share_of_one_keeps_nobody() -> None:
    assert names([heard(name, 60) for name in "abcdef"], share=1) == ""


def test_who_is_forgotten_is_not_kept() -> None:
    instances = [heard(name, 30) for name in "abc"]
    assert names(instances, now=NOW + REMEMBERED_FOR - seconds(1)) == "abc"
    assert names(instances, now=NOW + REMEMBERED_FOR) == ""


fleets = st.lists(
    st.tuples(st.floats(0, 120), st.sampled_from([HealthState.HEALTHY, HealthState.UNHEALTHY]), st.booleans()),
    max_size=12,
).map(
    lambda told: [
        heard(f"i{number:02}", ago, state=state, deregistered_at=NOW if is_gone else None)
        for number, (ago, state, is_gone) in enumerate(told)
    ]
)


@given(fleets, st.floats(0, 1))
def test_only_instances_whose_lease_has_run_out_are_kept_and_too_many_of_them(
    instances: list[Instance], share: float
) -> None:
    found = kept(instances, share, NOW)
    for each in instances:
        if each.key in found:
            assert lease_ends(each) <= NOW
            assert each.state is HealthState.HEALTHY
            assert each.deregistered_at is None
    assert len(found) == 0 or sum(each.state is HealthState.HEALTHY for each in instances) >= LEAST


@given(fleets, st.randoms())
def test_every_replica_comes_to_the_same(instances: list[Instance], order: object) -> None:
    shuffled = list(instances)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert kept(instances, 0.5, NOW) == kept(shuffled, 0.5, NOW)


@given(fleets)
def test_being_heard_again_makes_nobody_kept(instances: list[Instance]) -> None:
    before = kept(instances, 0.5, NOW)
    for number, each in enumerate(instances):
        if each.deregistered_at is None:
            fresh = replace(each, leased_at=NOW, seen_at=NOW)
            after = kept([*instances[:number], fresh, *instances[number + 1 :]], 0.5, NOW)
            assert after <= before
