"""How everything is, held against the table that people read."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.monitoring.overall import RULES, Fact, Parts, overall
from central_hub_client.wire import HealthState
from tests.architecture.source_tree import ROOT

PAGE = ROOT / "docs" / "explanation" / "dependencies.md"
HEAD = "| when | the whole is | the reason is told as |"
SERVICES = {
    Fact.SERVICE_DOWN: ("billing", HealthState.EXPIRED),
    Fact.SERVICE_DEGRADED: ("orders", HealthState.DEGRADED),
    Fact.STARTING: ("ledger", HealthState.STARTING),
}
COMPONENTS = {
    Fact.NEEDED_DOWN: ("clickhouse", HealthState.UNHEALTHY),
    Fact.COMPONENT_AMISS: ("nats", HealthState.DEGRADED),
}
STATES = st.sampled_from(HealthState)


def rows() -> list[list[str]]:
    table = PAGE.read_text(encoding="utf-8").partition(f"{HEAD}\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


ROWS = rows()
COMBINATIONS = [facts for count in range(len(Fact) + 1) for facts in combinations(Fact, count)]


def parts(facts: tuple[Fact, ...]) -> Parts:
    return Parts(
        HealthState.DEGRADED if Fact.HUB_DEGRADED in facts else HealthState.HEALTHY,
        {(name, "default"): state for fact, (name, state) in SERVICES.items() if fact in facts},
        {name: state for fact, (name, state) in COMPONENTS.items() if fact in facts},
        frozenset({"clickhouse"}),
    )


def test_the_page_has_a_row_for_every_rule_in_their_order() -> None:
    assert [(fact, state) for fact, state, _ in ROWS[:-1]] == [(str(fact), str(state)) for fact, state in RULES.items()]
    assert ROWS[-1][0] == "none of these is so"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_comes_out_as_it_is_told_there(row: list[str]) -> None:
    found = overall(parts(tuple(fact for fact in Fact if fact == row[0])))
    assert [found.state, found.reason] == row[1:]


def test_of_all_that_is_so_the_first_row_decides() -> None:
    for facts in COMBINATIONS:
        first = next((row for row in ROWS if row[0] in facts), ROWS[-1])
        assert [overall(parts(facts)).state, overall(parts(facts)).reason] == first[1:]


def test_many_are_counted_and_other_environments_are_named() -> None:
    services = {(f"s{number}", "staging"): HealthState.UNHEALTHY for number in range(7)}
    reason = overall(Parts(HealthState.HEALTHY, services)).reason
    assert reason.startswith("s0 in staging is unhealthy, s1 in staging is unhealthy, ")
    assert reason.endswith(", s4 in staging is unhealthy and 2 more")


@given(
    STATES,
    st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from(["default", "staging"])), STATES),
    st.dictionaries(st.sampled_from("xyz"), STATES),
    st.frozensets(st.sampled_from("xyz")),
)
def test_it_is_healthy_only_where_nothing_is_amiss(
    hub: HealthState,
    services: dict[tuple[str, str], HealthState],
    components: dict[str, HealthState],
    needed: frozenset[str],
) -> None:
    found = overall(Parts(hub, services, components, needed))
    well = {HealthState.HEALTHY, HealthState.DRAINING}
    is_well = hub is not HealthState.DEGRADED and {*services.values(), *components.values()} <= well
    assert (found.state is HealthState.HEALTHY) == is_well
    assert found.reason
