"""How a service is, held against the tables that people read."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.coordination.fleet import Member
from central_hub.coordination.service_health import Dependency, Kind, roll_up
from central_hub_client.wire import HealthState
from tests.architecture.source_tree import ROOT
from tests.unit.coordination.fleet_members import instance

PAGE = ROOT / "docs" / "explanation" / "service-health.md"
DEPENDENCIES_HEAD = (
    "| by its instances it is | a dependency | is | the service is | for example | the reason is told as |"
)
HEAD = "| there is one | and none | the service is | for example | the reason is told as |"


@dataclass(frozen=True)
class Row:
    """A row of the page: a rule, and a fleet that it is the first to fit."""

    some: frozenset[Kind]
    without: frozenset[Kind]
    state: HealthState
    example: Mapping[Kind, int]
    reason: str

    def fits(self, kinds: Mapping[Kind, int]) -> bool:
        return all(kinds[kind] for kind in self.some) and not any(kinds[kind] for kind in self.without)


@dataclass(frozen=True)
class DependencyRow:
    """A row of the second table: what a dependency in this state makes of a service."""

    by_instances: frozenset[HealthState]
    is_required: bool
    state: HealthState
    becomes: HealthState | None
    example: Mapping[Kind, int]
    reason: str


def rows() -> list[Row]:
    return [
        Row(kinds(some), kinds(without), HealthState(state), counts(example), reason)
        for some, without, state, example, reason in cells(HEAD)
    ]


def dependency_rows() -> list[DependencyRow]:
    every = frozenset(HealthState)
    names = {"anything": every, "anything else": every - {HealthState.HEALTHY}}
    return [
        DependencyRow(
            names[own] if own in names else frozenset({HealthState(own)}),
            need == "required",
            HealthState(state),
            None if becomes == "as by its instances" else HealthState(becomes),
            counts(example),
            reason,
        )
        for own, need, state, becomes, example, reason in cells(DEPENDENCIES_HEAD)
    ]


def cells(head: str) -> list[list[str]]:
    table = PAGE.read_text(encoding="utf-8").partition(f"{head}\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def kinds(cell: str) -> frozenset[Kind]:
    return frozenset(Kind(name) for name in re.split(r",\s*", cell) if name)


def counts(cell: str) -> Counter[Kind]:
    return Counter({Kind(name): int(number) for number, name in re.findall(r"(\d+) ([^,]+)", cell)})


ROWS = rows()
DEPENDENCY_ROWS = dependency_rows()
COMBINATIONS = [Counter(dict(zip(Kind, numbers, strict=True))) for numbers in product((0, 1), repeat=len(Kind))][1:]


def first_of(found: Mapping[Kind, int]) -> Row:
    return next(row for row in ROWS if row.fits(found))


def members(found: Mapping[Kind, int]) -> list[Member]:
    return [member(kind, f"{kind}-{number}") for kind in Kind for number in range(found[kind])]


def member(kind: Kind, name: str) -> Member:
    able = {Kind.KEPT: HealthState.HEALTHY, Kind.SET_ASIDE: HealthState.HEALTHY}
    state = able[kind] if kind in able else HealthState(kind)
    made = instance(instance_id=name, state=state)
    weight = 0 if kind is Kind.SET_ASIDE else 1
    return Member(replace(made, description=replace(made.description, weight=weight)), state, kind is Kind.KEPT)


def test_the_page_has_a_table_with_a_row_for_every_state() -> None:
    assert len(ROWS) == 8
    assert {row.state for row in ROWS} == set(HealthState)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.state}: {row.reason}")
def test_each_example_of_the_page_comes_out_as_it_is_told_there(row: Row) -> None:
    assert first_of(row.example) is row
    health = roll_up(members(row.example))
    assert health.state is row.state
    assert health.reason == row.reason


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.state}: {row.reason}")
def test_each_row_of_the_page_decides_something(row: Row) -> None:
    assert [found for found in COMBINATIONS if first_of(found) is row]


@given(st.sampled_from(COMBINATIONS), st.lists(st.integers(1, 9), min_size=len(Kind), max_size=len(Kind)))
def test_whatever_there_is_comes_to_the_first_row_that_fits(present: Counter[Kind], numbers: list[int]) -> None:
    found = Counter({kind: present[kind] * number for kind, number in zip(Kind, numbers, strict=True)})
    health = roll_up(members(found))
    assert health.state is first_of(found).state
    assert sum(health.counts.values()) == sum(found.values())
    assert health.callable == found[Kind.HEALTHY] + found[Kind.DEGRADED] + found[Kind.KEPT]
    # Whether anybody can be called is what the state is about.
    assert (health.state in (HealthState.HEALTHY, HealthState.DEGRADED)) == (health.callable > 0)
    told = counts(re.sub(r" of \d+(?= )", "", health.reason.rpartition(": ")[2].partition(";")[0]))
    assert told.items() <= found.items()


def test_every_combination_comes_to_the_first_row_that_fits() -> None:
    assert [found for found in COMBINATIONS if roll_up(members(found)).state is not first_of(found).state] == []


@pytest.mark.parametrize("state", [HealthState.HEALTHY, HealthState.DEGRADED])
def test_what_is_left_out_on_purpose_counts_so_whatever_else_it_is(state: HealthState) -> None:
    found = replace(instance(state=state), description=replace(instance().description, weight=0))
    for is_kept in (False, True):
        health = roll_up([Member(found, state, is_kept)])
        assert (health.state, health.reason) == (HealthState.UNHEALTHY, "none can be called: 1 of weight 0")
        assert health.counts[state] == 1


def test_an_instance_that_expires_is_expired_whatever_its_weight() -> None:
    found = replace(instance(), description=replace(instance().description, weight=0))
    assert roll_up([Member(found, HealthState.EXPIRED, False)]).state is HealthState.EXPIRED


@pytest.mark.parametrize("row", DEPENDENCY_ROWS, ids=lambda row: row.reason)
def test_each_example_with_a_dependency_comes_out_as_it_is_told_there(row: DependencyRow) -> None:
    alone = roll_up(members(row.example))
    health = roll_up(members(row.example), [Dependency("postgresql", row.is_required, row.state, "connection refused")])
    assert alone.state in row.by_instances
    assert health.state is (row.becomes or alone.state)
    assert health.reason == row.reason


def test_the_page_says_of_every_state_of_a_dependency_what_follows() -> None:
    told = [(own, row.is_required, row.state) for row in DEPENDENCY_ROWS for own in row.by_instances]
    amiss = (HealthState.DEGRADED, HealthState.UNHEALTHY)
    assert sorted(told) == sorted(product(HealthState, (False, True), amiss))


DEPENDENCY = st.builds(
    Dependency, st.sampled_from(["postgresql", "nats"]), st.booleans(), st.none() | st.sampled_from(HealthState)
)


@given(st.sampled_from(COMBINATIONS), st.lists(DEPENDENCY, max_size=4))
def test_whatever_it_depends_on_the_rows_of_the_page_decide(found: Counter[Kind], depends_on: list[Dependency]) -> None:
    alone, health = roll_up(members(found)), roll_up(members(found), depends_on)
    becomes = {
        row.becomes
        for row in DEPENDENCY_ROWS
        for each in depends_on
        if (each.is_required, each.state) == (row.is_required, row.state) and alone.state in row.by_instances
    }
    assert health.state is (HealthState.DEGRADED if HealthState.DEGRADED in becomes else alone.state)
    assert (health.counts, health.callable) == (alone.counts, alone.callable)
    amiss = [each for each in depends_on if each.state in (HealthState.DEGRADED, HealthState.UNHEALTHY)]
    assert health.reason.startswith(alone.reason)
    assert health.reason.count(", which is ") == len(amiss)
