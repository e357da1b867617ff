"""Every instance gets its share by weight, within 2 %."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub_client.routing.turns import Turns
from central_hub_client.routing.two_choices import TwoChoices
from tests.unit.routing.fleets import Member, fleets

WITHIN = 0.02

weights = st.integers(1, 20)
seeds = st.integers(0, 2**32)


@given(fleets(weights=weights), seeds)
def test_a_round_of_turns_gives_each_exactly_its_weight(members: list[Member], seed: int) -> None:
    turns = Turns(members, random.Random(seed).random)
    for _ in range(3):
        taken = Counter(turns.next() for _ in range(sum(member.weight for member in members)))
        assert taken == {member: member.weight for member in members}


@given(fleets(weights=weights, least=2), seeds)
def test_turns_are_spread_evenly_all_along_the_way(members: list[Member], seed: int) -> None:
    turns = Turns(members, random.Random(seed).random)
    total = sum(member.weight for member in members)
    taken: Counter[Member] = Counter()
    for number in range(1, 2 * total + 1):
        taken[turns.next()] += 1
        for member in members:
            # One turn for the rounding of its own share, and one for that of the others'.
            assert abs(taken[member] - number * member.weight / total) < 2.0


@given(fleets(most=30), seeds)
def test_among_equals_nobody_is_called_twice_before_everybody_was_called_once(members: list[Member], seed: int) -> None:
    turns = Turns(members, random.Random(seed).random)
    first = [turns.next() for _ in members]
    assert set(first) == set(members)
    assert [turns.next() for _ in members] == first


def test_callers_that_begin_together_do_not_all_begin_with_the_same_instance() -> None:
    members = [Member(f"i{number}") for number in range(10)]
    draw = random.Random(1).random
    firsts = Counter(Turns(members, draw).next() for _ in range(1_000))
    assert set(firsts) == set(members)
    assert max(firsts.values()) < 200


@settings(deadline=None, max_examples=30)
@given(fleets(weights=weights), seeds)
def test_two_choices_give_each_its_share_by_weight(members: list[Member], seed: int) -> None:
    choices = TwoChoices(members, {}, random.Random(seed).random)
    total = sum(member.weight for member in members)
    count = 300 * total
    taken = Counter(choices.next() for _ in range(count))
    for member in members:
        share = count * member.weight / total
        assert abs(taken[member] - share) <= WITHIN * share


def test_of_two_choices_the_one_with_fewer_calls_under_way_for_its_weight_is_taken() -> None:
    busy, idle = Member("busy", weight=4), Member("idle", weight=2)
    under_way = {"busy": 9, "idle": 4}
    choices = TwoChoices([busy, idle], under_way, random.Random(3).random)
    taken = Counter(choices.next() for _ in range(10_000))
    # The busy one is only taken where it is drawn twice: (2/3)^2.
    assert 0.41 < taken[busy] / 10_000 < 0.48
    under_way["idle"] = 5
    taken = Counter(choices.next() for _ in range(10_000))
    assert taken[busy] / 10_000 > 0.86
