"""What is to blame where several are unwell, held against a model that tries every path."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.dependencies import Graph, NodeKind, component, service
from central_hub.monitoring.infrastructure import Infrastructure
from central_hub.monitoring.root_causes import RootCauses, Unwell, blame, reach
from central_hub_client.wire import HealthState
from tests.unit.monitoring.infrastructures import (
    MUST,
    TRADING,
    States,
    any_infrastructure,
    infrastructure,
    is_required,
    paths,
    states_of,
)

DEGRADED, UNHEALTHY, EXPIRED = HealthState.DEGRADED, HealthState.UNHEALTHY, HealthState.EXPIRED
AMISS = (DEGRADED, UNHEALTHY, EXPIRED)


def told(states: States, name: str, state: HealthState) -> list[str]:
    return [cause.told() for cause in RootCauses(Graph(TRADING), states).of(service(name), state)]


def test_one_database_is_the_cause_and_twelve_services_are_behind_it() -> None:
    names = [f"s{number:02}" for number in range(12)]
    graph = Graph(infrastructure({"db": {}, "pool": {"db": MUST}}, {name: {"pool": MUST} for name in names}))
    causes = RootCauses(graph, {"db": UNHEALTHY, "pool": UNHEALTHY})
    unwell = [
        Unwell(component("db"), UNHEALTHY),
        Unwell(component("pool"), UNHEALTHY),
        *(Unwell(service(name), UNHEALTHY, "default") for name in names),
    ]
    [group] = causes.group(unwell)
    assert group.cause == unwell[0]
    assert set(group.explained) == set(unwell[1:])


def test_a_cause_is_told_with_the_way_to_it() -> None:
    states = {"clickhouse": UNHEALTHY, "feature-store": UNHEALTHY}
    assert told(states, "feature-engineering", UNHEALTHY) == [
        "requires feature-store, which requires clickhouse, which is unhealthy"
    ]


def test_a_service_whose_dependencies_are_well_is_its_own_cause() -> None:
    states = {"clickhouse": UNHEALTHY, "feature-store": UNHEALTHY, "postgresql": HealthState.HEALTHY}
    assert told(states, "tick-aggregator", UNHEALTHY) == ["requires clickhouse, which is unhealthy"]
    assert told({"postgresql": HealthState.HEALTHY}, "tick-aggregator", UNHEALTHY) == []
    assert told(states, "unheard-of", UNHEALTHY) == []


def test_causes_that_have_nothing_to_do_with_each_other_stay_apart() -> None:
    states = {"clickhouse": UNHEALTHY, "nats": UNHEALTHY}
    assert told(states, "tick-aggregator", UNHEALTHY) == [
        "requires clickhouse, which is unhealthy",
        "requires nats, which is unhealthy",
    ]


@pytest.mark.parametrize("state", HealthState)
def test_what_can_be_done_without_explains_what_is_degraded_and_no_more(state: HealthState) -> None:
    assert bool(told({"dragonflydb": UNHEALTHY}, "data-bridge", state)) == (state is DEGRADED)


@pytest.mark.parametrize("state", HealthState)
def test_what_still_works_explains_what_is_degraded_and_no_more(state: HealthState) -> None:
    assert bool(told({"clickhouse": DEGRADED}, "data-bridge", state)) == (state is DEGRADED)


@pytest.mark.parametrize("state", HealthState)
def test_what_is_down_explains_whoever_is_unwell_and_requires_it(state: HealthState) -> None:
    assert bool(told({"clickhouse": UNHEALTHY}, "data-bridge", state)) == (state in AMISS)


def test_a_component_that_nobody_probes_any_more_is_not_explained_by_what_is_down_below_it() -> None:
    causes = RootCauses(Graph(TRADING), {"clickhouse": UNHEALTHY, "feature-store": EXPIRED})
    assert causes.of(component("feature-store"), EXPIRED) == ()
    assert causes.of(component("feature-store"), UNHEALTHY)


def test_what_is_no_more_in_the_file_explains_nothing() -> None:
    assert RootCauses(Graph(TRADING), {"gone": UNHEALTHY}).components == ()


def test_conditions_are_blamed_on_components_and_those_of_other_kinds_on_nobody() -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    conditions = [
        Condition(ConditionKind.INFRASTRUCTURE, "clickhouse", at, "refused", UNHEALTHY),
        Condition(ConditionKind.INFRASTRUCTURE, "feature-store", at, "answered 503", UNHEALTHY),
        Condition(ConditionKind.SERVICE, "data-bridge", at, "none can be called", EXPIRED, "staging"),
        Condition(ConditionKind.SERVICE, "unheard-of", at, "none can be called", UNHEALTHY, "default"),
        Condition(ConditionKind.CONFIG_REJECTED, "data-bridge", at, "no", environment="staging"),
    ]
    causes = RootCauses(Graph(TRADING), {"clickhouse": UNHEALTHY, "feature-store": UNHEALTHY})
    assert blame(causes, conditions) == {
        ("infrastructure", "feature-store", ""): {"clickhouse"},
        ("service", "data-bridge", "staging"): {"clickhouse"},
    }


def explaining(found: Infrastructure, states: States, one: Unwell) -> Iterator[str]:
    """The model: every component that explains it by some path, whether or not something explains that in turn."""
    if one.state not in AMISS or (one.node.kind is NodeKind.COMPONENT and one.state is EXPIRED):
        return
    for name, state in states.items():
        ways = list(paths(found, one.node, name))
        stops = state is UNHEALTHY and any(map(is_required, ways))
        if state in (DEGRADED, UNHEALTHY) and ways and (stops or one.state is DEGRADED):
            yield name


@st.composite
def troubles(draw: st.DrawFn) -> tuple[Infrastructure, States, list[Unwell]]:
    found = draw(any_infrastructure())
    states = draw(states_of(found))
    services = draw(st.dictionaries(st.sampled_from(sorted(found.services) or ["unknown"]), st.sampled_from(AMISS)))
    unwell = [Unwell(component(name), state) for name, state in states.items() if state in AMISS]
    unwell += [Unwell(service(name), state, "default") for name, state in services.items() if name in found.services]
    return found, states, unwell


@given(troubles())
def test_whoever_something_explains_is_explained_by_root_causes_and_nobody_else_is(
    trouble: tuple[Infrastructure, States, list[Unwell]],
) -> None:
    found, states, unwell = trouble
    causes = RootCauses(Graph(found), states)
    roots = {
        name
        for name, state in states.items()
        if state in (DEGRADED, UNHEALTHY) and not list(explaining(found, states, Unwell(component(name), state)))
    }
    assert set(causes.components) == roots
    for one in unwell:
        model = set(explaining(found, states, one))
        told = causes.of(one.node, one.state)
        assert {cause.component for cause in told} == model & roots
        # Whoever is explained at all is explained by a cause that nothing explains, along a path that is there.
        assert bool(told) == bool(model)
        for cause in told:
            assert cause.dependent.path in list(paths(found, one.node, cause.component))


@given(troubles())
def test_without_the_causes_nothing_is_left_unexplained(
    trouble: tuple[Infrastructure, States, list[Unwell]],
) -> None:
    found, states, unwell = trouble
    groups = RootCauses(Graph(found), states).group(unwell)
    causes = [group.cause for group in groups]
    explained = {one for group in groups for one in group.explained}
    assert len(set(causes)) == len(causes)
    assert set(unwell) == set(causes) | explained
    assert not set(causes) & explained


@given(troubles())
def test_whoever_requires_what_is_down_by_every_step_of_some_way_is_within_its_reach(
    trouble: tuple[Infrastructure, States, list[Unwell]],
) -> None:
    found, states, _ = trouble
    graph = Graph(found)
    everybody = [*map(component, graph.components), *map(service, graph.services)]
    kinds = {NodeKind.COMPONENT: "infrastructure", NodeKind.SERVICE: "service"}
    assert {name: set(map(str, hit)) for name, hit in reach(graph, states).items()} == {
        name: {node.name for node in everybody if any(map(is_required, paths(found, node, name)))}
        for name, state in states.items()
        if state is UNHEALTHY
    }
    assert all(each.kind in kinds.values() for hit in reach(graph, states).values() for each in hit)
