"""Who runs the latest revision, who refused it, who hides it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.coordination.convergence import Places, Standing, converge
from central_hub.storage.instance_values import Instance, Rejection, Report, Stance
from central_hub_client.wire import Position
from tests.unit.coordination.fleet_members import NOW, instance, positions, reports, stances

LATEST = Position(1, 7)


def standing(found: Instance, latest: Position | None = LATEST, changed: tuple[str, ...] = ("/a",)) -> Standing:
    [delivery] = converge([found], latest, changed, NOW).deliveries
    return delivery.standing


@pytest.mark.parametrize(
    ("stance", "expected"),
    [
        (Stance(), Standing.PENDING),
        (Stance(Position(1, 6)), Standing.PENDING),
        (Stance(Position(1, 7)), Standing.APPLIED),
        (Stance(Position(1, 8)), Standing.APPLIED),  # this replica is behind
        (Stance(Position(2, 1)), Standing.APPLIED),
        (Stance(Position(0, 99)), Standing.PENDING),  # of an epoch that is over
        (Stance(Position(1, 6), Rejection(Position(1, 7), "no")), Standing.REJECTED),
        (Stance(None, Rejection(Position(1, 7), "no")), Standing.REJECTED),
        (Stance(Position(1, 5), Rejection(Position(1, 6), "no")), Standing.PENDING),
        (Stance(Position(1, 7), Rejection(Position(1, 6), "no")), Standing.APPLIED),
    ],
)
def test_the_standing_follows_from_what_was_applied_and_refused(stance: Stance, expected: Standing) -> None:
    assert standing(instance(stance=stance)) is expected


@pytest.mark.parametrize(
    ("shadowed", "changed", "hidden"),
    [
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/a", "/a/b", True),
        ("/ab", "/a", False),
        ("/a/b", "/a/c", False),
        ("/a", "", True),  # nobody knows what changed: it may have been this
    ],
)
def test_a_hidden_key_counts_where_the_change_touches_it(shadowed: str, changed: str, hidden: bool) -> None:
    found = instance(stance=Stance(LATEST), report=Report(shadowed=(shadowed,)))
    assert standing(found, changed=(changed,)) is (Standing.SHADOWED if hidden else Standing.APPLIED)


def test_where_there_is_no_configuration_nothing_has_to_arrive() -> None:
    assert standing(instance(), latest=None) is Standing.APPLIED


def test_a_silent_instance_keeps_a_change_from_converging_whatever_it_said_last() -> None:
    silent = instance(stance=Stance(LATEST), leased_at=NOW - timedelta(seconds=31))
    assert standing(silent) is Standing.SILENT
    assert not converge([silent], LATEST, (), NOW).converged


def test_the_reason_of_a_refusal_is_told_only_while_it_stands() -> None:
    refused = instance(stance=Stance(Position(1, 6), Rejection(LATEST, "no")))
    assert converge([refused], LATEST, (), NOW).deliveries[0].error == "no"
    assert converge([refused], Position(1, 8), (), NOW).deliveries[0].error is None


def test_without_instances_nothing_is_left_to_converge() -> None:
    assert converge([], LATEST, ("/a",), NOW).converged


@given(st.lists(st.tuples(stances, reports), max_size=4), st.none() | positions)
def test_it_has_converged_exactly_when_everybody_applied_it(
    fleet: list[tuple[Stance, Report]], latest: Position | None
) -> None:
    instances = [instance(stance=stance, report=report) for stance, report in fleet]
    found = converge(instances, latest, ("/a",), NOW)
    assert found.converged == all(delivery.standing is Standing.APPLIED for delivery in found.deliveries)
    for delivery in found.deliveries:
        applied = delivery.instance.stance.applied
        if delivery.standing in (Standing.PENDING, Standing.REJECTED):
            assert latest is not None
            assert applied is None or applied < latest
        assert (delivery.error is not None) == (delivery.standing in (Standing.REJECTED, Standing.SHADOWED))


paths = st.lists(st.sampled_from("abc"), max_size=3).map(lambda steps: "".join(f"/{step}" for step in steps))


@given(paths, paths)
def test_touching_is_mutual_and_means_lying_on_one_way(key: str, other: str) -> None:
    assert Places([key]).touch(other) == Places([other]).touch(key)
    shorter, longer = sorted((key.split("/"), other.split("/")), key=len)
    assert Places([key]).touch(other) == (longer[: len(shorter)] == shorter)


@given(st.lists(paths, max_size=4), paths)
def test_places_touch_what_one_of_them_touches(some: list[str], other: str) -> None:
    assert Places(some).touch(other) == any(Places([place]).touch(other) for place in some)


@given(st.lists(stances, max_size=6))
def test_the_counts_say_of_every_standing_how_many_there_are(fleet: list[Stance]) -> None:
    found = converge([instance(stance=stance) for stance in fleet], LATEST, (), NOW)
    assert found.counts == {
        standing: sum(delivery.standing is standing for delivery in found.deliveries) for standing in Standing
    }
    assert found.is_settled == (found.counts[Standing.PENDING] == 0)


def test_an_instance_that_hides_the_change_is_told_with_what_it_hides() -> None:
    hiding = instance(stance=Stance(LATEST), report=Report(shadowed=("/a", "/b", "/c/d")))
    assert converge([hiding], LATEST, ("/a", "/c"), NOW).deliveries[0].error == "its own settings hide /a, /c/d"
