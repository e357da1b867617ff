"""Consistent hashing: few keys move, none needlessly, and every language finds the same owner."""

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub_client.routing.hash_ring import HashRing, owner, place, points
from tests.unit.routing.fleets import Member, fleets

KEYS = [f"key-{number}" for number in range(1_000)]
weights = st.integers(1, 20)


@settings(deadline=None)
@given(fleets(least=2, most=30), st.randoms(use_true_random=False))
def test_when_one_of_n_leaves_at_most_two_nth_of_the_keys_move_and_only_its_own(
    members: list[Member], chance: random.Random
) -> None:
    before, leaving = HashRing(members), chance.choice(members)
    after = HashRing([member for member in members if member is not leaving])
    moved = [key for key in KEYS if before.owner(key) != after.owner(key)]
    assert all(before.owner(key) == leaving for key in moved)
    assert len(moved) <= 2 / len(members) * len(KEYS)


@settings(deadline=None)
@given(fleets(weights=weights, least=2), st.randoms(use_true_random=False))
def test_weights_change_nothing_about_that(members: list[Member], chance: random.Random) -> None:
    leaving = chance.choice(members)
    before, after = HashRing(members), HashRing([member for member in members if member is not leaving])
    moved = [key for key in KEYS if before.owner(key) != after.owner(key)]
    assert all(before.owner(key) == leaving for key in moved)


@settings(deadline=None)
@given(fleets(weights=weights, least=2), st.randoms(use_true_random=False))
def test_who_gets_more_weight_takes_keys_and_loses_none(members: list[Member], chance: random.Random) -> None:
    growing = chance.choice(members)
    grown = replace(growing, weight=growing.weight + 1)
    before, after = HashRing(members), HashRing([grown if member is growing else member for member in members])
    moved = [key for key in KEYS if before.owner(key).instance_id != after.owner(key).instance_id]
    assert all(after.owner(key) is grown for key in moved)


@settings(deadline=None)
@given(fleets(weights=weights), st.lists(st.text(), min_size=1))
def test_the_ring_and_the_look_at_every_instance_agree(members: list[Member], keys: list[str]) -> None:
    ring = HashRing(members)
    for key in keys:
        assert ring.owner(key) == owner(members, key) == owner(members[::-1], key)


def test_keys_are_shared_by_weight() -> None:
    members = [Member(f"instance-{number}", weight=number % 4 + 1) for number in range(20)]
    ring, total = HashRing(members), sum(member.weight for member in members)
    owned = Counter(ring.owner(f"user:{number}") for number in range(50_000))
    for member in members:
        assert 0.7 < owned[member] / 50_000 / (member.weight / total) < 1.3


# Whoever writes this down in another language may hold it against these.
VECTORS = {"": "b", "customer-7": "b", "zürich": "c", "order/9": "a", "x": "c"}
FLEET = [Member("a", weight=1), Member("b", weight=2), Member("c", weight=3)]


def test_the_places_of_keys_and_instances_are_those_of_the_definition() -> None:
    assert place("") == 0xE3B0C442
    assert place("abc") == 0xBA7816BF
    own = points("a")
    assert len(own) == 128
    assert list(own) == sorted(own)
    assert (own[0], own[-1]) == (7961334, 4281552790)


def test_everybody_finds_the_same_owner() -> None:
    assert {key: owner(FLEET, key).instance_id for key in VECTORS} == VECTORS


def test_another_process_finds_the_same_owner() -> None:
    program = f"""
import json
from central_hub_client.routing.hash_ring import HashRing
from tests.unit.routing.fleets import Member
ring = HashRing([Member("a", weight=1), Member("b", weight=2), Member("c", weight=3)])
print(json.dumps({{key: ring.owner(key).instance_id for key in {list(VECTORS)!r}}}))
"""
    # Hashes of text differ from process to process in Python: nothing may depend on them.
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(said.stdout) == VECTORS
