"""Who may be called at all, whatever the policy, and what a choice admits to."""

import random
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub_client.routing.balancer import Balancer
from central_hub_client.routing.policy import Fallback, NothingToCall, Policy
from tests.unit.routing.fleets import Member, anything

ARGUMENTS: dict[Policy, dict[str, Any]] = {
    Policy.ROUND_ROBIN: {},
    Policy.RANDOM: {},
    Policy.CONSISTENT_HASH: {"key": "customer-7"},
    Policy.SAME_ZONE: {"zone": "eu"},
}
policies = st.sampled_from(list(Policy))


def balancer(members: list[Member]) -> Balancer[Member]:
    return Balancer(members, random.Random(7).random)


@given(anything, policies)
def test_only_the_healthy_are_called_and_the_degraded_where_there_is_no_healthy_one(
    members: list[Member], policy: Policy
) -> None:
    by_state = {
        state: {member for member in members if member.state == state and member.weight > 0}
        for state in ("healthy", "degraded")
    }
    expected = by_state["healthy"] or by_state["degraded"]
    made = balancer(members)
    if not expected:
        with pytest.raises(NothingToCall):
            made.pick(policy, **ARGUMENTS[policy])
        return
    choices = [made.pick(policy, **ARGUMENTS[policy]) for _ in range(30)]
    assert {choice.instance for choice in choices} <= expected
    for choice in choices:
        assert (Fallback.DEGRADED in choice.fallbacks) == (not by_state["healthy"])


@given(anything, st.sampled_from(["eu", "us", "nowhere"]))
def test_the_zone_is_kept_to_where_it_has_anybody_to_call_and_else_it_is_said(members: list[Member], zone: str) -> None:
    made = balancer(members)
    near = {member for member in made.eligible if member.zone == zone}
    for _ in range(20 if made.eligible else 0):
        choice = made.pick(Policy.SAME_ZONE, zone=zone)
        assert choice.instance in (near or made.eligible)
        assert (Fallback.OTHER_ZONE in choice.fallbacks) == (not near)


def test_a_healthy_instance_far_away_comes_before_a_degraded_one_nearby() -> None:
    made = balancer([Member("near", "degraded", zone="eu"), Member("far", zone="us")])
    choice = made.pick(Policy.SAME_ZONE, zone="eu")
    assert (choice.instance.instance_id, choice.fallbacks) == ("far", (Fallback.OTHER_ZONE,))
    lonely = balancer([Member("one", "degraded", zone="us")]).pick(Policy.SAME_ZONE, zone="eu")
    assert lonely.fallbacks == (Fallback.DEGRADED, Fallback.OTHER_ZONE)


def test_within_a_zone_the_turns_go_by_weight() -> None:
    made = balancer([Member("a", weight=3, zone="eu"), Member("b", zone="eu"), Member("c", weight=9, zone="us")])
    taken = Counter(made.pick(Policy.SAME_ZONE, zone="eu").instance.instance_id for _ in range(40))
    assert taken == {"a": 30, "b": 10}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([], "none is registered"),
        ([Member("a", "draining"), Member("b", "draining"), Member("c", weight=0)], "2 draining, 1 of weight 0"),
    ],
)
def test_the_error_says_how_those_are_that_cannot_be_called(members: list[Member], reason: str) -> None:
    with pytest.raises(NothingToCall, match=reason):
        balancer(members).pick()


@pytest.mark.parametrize(
    ("policy", "arguments"),
    [
        (Policy.CONSISTENT_HASH, {}),
        (Policy.SAME_ZONE, {}),
        (Policy.SAME_ZONE, {"zone": "eu", "key": "x"}),
        (Policy.ROUND_ROBIN, {"key": "x"}),
        (Policy.RANDOM, {"zone": "eu"}),
    ],
)
def test_what_a_policy_goes_by_must_be_told_and_nothing_else(policy: Policy, arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"key|zone"):
        balancer([Member("a")]).pick(policy, **arguments)


def test_threads_that_pick_at_once_share_the_turns_exactly() -> None:
    made = balancer([Member(f"i{number}", weight=number + 1) for number in range(4)])
    taken: Counter[str] = Counter()
    lock = threading.Lock()

    def work() -> None:
        own = Counter(made.pick().instance.instance_id for _ in range(1_000))
        with lock:
            taken.update(own)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == {"i0": 800, "i1": 1_600, "i2": 2_400, "i3": 3_200}
