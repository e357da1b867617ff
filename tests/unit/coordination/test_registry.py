"""Leases, generations, and who may speak for an instance."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.coordination.registry import (
    REMEMBERED_FOR,
    heard,
    is_remembered,
    lease_ends,
    merged,
    prove,
    renewed,
    state_of,
)
from central_hub.errors import Forbidden, HubError, NotFound, StaleGeneration
from central_hub.security.tokens import sha256
from central_hub.storage.instance_values import Beat, Drain, Stance
from central_hub_client.wire import HealthState, Position
from tests.unit.coordination.fleet_members import NOW, SECRET, beats, instance, states

RIGHT = sha256(SECRET)
WRONG = sha256("guessed")


@given(st.integers(5, 3600), st.integers(0, 10**6), states)
def test_an_instance_is_silent_from_the_moment_its_lease_ends(lease: int, microseconds: int, state: str) -> None:
    found = instance(lease_seconds=lease, state=HealthState(state))
    end = NOW + timedelta(seconds=lease)
    assert state_of(found, end - timedelta(microseconds=microseconds + 1)) is found.state
    assert state_of(found, end + timedelta(microseconds=microseconds)) is HealthState.EXPIRED


@given(states, beats())
def test_a_drained_instance_drains_whatever_it_says_as_long_as_it_is_well(state: HealthState, beat: Beat) -> None:
    drained = renewed(instance(state=state, drain=Drain("ops", NOW)), beat)
    assert drained.drain == Drain("ops", NOW)
    shown = HealthState.UNHEALTHY if drained.state is HealthState.UNHEALTHY else HealthState.DRAINING
    end = lease_ends(drained)
    assert state_of(drained, end - timedelta(microseconds=1)) is shown
    assert state_of(drained, end) is HealthState.EXPIRED


def test_who_said_goodbye_or_was_silent_too_long_is_not_spoken_of() -> None:
    silent = instance(leased_at=NOW - timedelta(seconds=30))
    assert is_remembered(silent, NOW)
    assert not is_remembered(instance(deregistered_at=NOW), NOW)
    forgotten = instance(leased_at=NOW - timedelta(seconds=30) - REMEMBERED_FOR)
    assert not is_remembered(forgotten, NOW)
    assert is_remembered(forgotten, NOW - timedelta(microseconds=1))


def test_who_has_secret_and_generation_is_the_instance() -> None:
    found = instance()
    assert prove([found], 2, RIGHT) is found


@pytest.mark.parametrize(
    ("generation", "digest", "error"),
    [
        (2, WRONG, Forbidden),
        (1, RIGHT, StaleGeneration),
        (1, WRONG, StaleGeneration),
        (3, RIGHT, NotFound),
        (3, WRONG, NotFound),
    ],
)
def test_whoever_else_is_refused(generation: int, digest: bytes, error: type[HubError]) -> None:
    with pytest.raises(error):
        prove([instance()], generation, digest)


def test_an_unknown_name_is_told_to_register() -> None:
    with pytest.raises(NotFound):
        prove([], 1, RIGHT)


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["a", "b"])), max_size=3), st.integers(1, 5))
def test_nobody_gets_through_without_a_secret_of_that_generation(
    candidates: list[tuple[int, str]], generation: int
) -> None:
    known = [
        instance(environment=f"e{number}", generation=given_out, secret_sha256=sha256(secret))
        for number, (given_out, secret) in enumerate(candidates)
    ]
    if (generation, "a") in candidates:
        found = prove(known, generation, sha256("a"))
        assert (found.generation, found.secret_sha256) == (generation, sha256("a"))
    else:
        with pytest.raises((NotFound, Forbidden, StaleGeneration)):
            prove(known, generation, sha256("a"))


@given(beats(), beats())
def test_two_heartbeats_as_one_have_the_effect_of_both(first: Beat, second: Beat) -> None:
    found = instance()
    assert renewed(found, merged(first, second)) == renewed(renewed(found, first), second)


@given(beats(st.integers(1, 3)), beats(st.integers(1, 3)))
def test_an_older_incarnation_adds_nothing_to_a_later_one(first: Beat, second: Beat) -> None:
    both = merged(first, second)
    assert both.generation == max(first.generation, second.generation)
    if first.generation != second.generation:
        assert both in (first, second)


@given(beats())
def test_what_a_heartbeat_changes_is_all_that_is_written(beat: Beat) -> None:
    found = instance(state=HealthState.DRAINING, stance=Stance(Position(1, 1)))
    assert renewed(found, heard(found, beat)) == renewed(found, beat)
    again = heard(renewed(found, beat), beat)
    assert (again.state, again.stance, again.report) == (None, None, None)


def test_an_instance_that_sends_heartbeats_has_started_unless_it_says_otherwise() -> None:
    found = instance(state=HealthState.STARTING)
    beat = Beat(found.key, 2, NOW)
    assert heard(found, beat).state is HealthState.HEALTHY
    starting = Beat(found.key, 2, NOW, HealthState.STARTING)
    assert renewed(found, heard(found, starting)).state is HealthState.STARTING
