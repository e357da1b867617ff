"""Who is hit when a component is down, and what is recommended."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.monitoring.dependencies import component, service
from central_hub.monitoring.impact import impact_of
from central_hub.monitoring.infrastructure import Infrastructure, Need
from central_hub.monitoring.situation import Needed, Observed, Situation
from central_hub_client.wire import HealthState
from tests.unit.monitoring.infrastructures import (
    MUST,
    TRADING,
    States,
    any_infrastructure,
    infrastructure,
    is_required,
    nodes_of,
    paths,
    states_of,
)

HEALTHY, DEGRADED, UNHEALTHY = HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY
REFUSED = Observed(UNHEALTHY, "connection refused")


def recommended(name: str, **known: Observed) -> tuple[str, ...]:
    situation = Situation(TRADING, {name.replace("_", "-"): found for name, found in known.items()})
    return impact_of(situation, name).recommendations


def test_each_who_is_hit_has_a_reason() -> None:
    impact = impact_of(Situation(TRADING, {}), "clickhouse")
    assert [(hit.dependent.node, hit.effect, hit.reason) for hit in impact.hits] == [
        (
            component("feature-store"),
            UNHEALTHY,
            "feature-store requires clickhouse: without clickhouse it cannot work",
        ),
        (service("data-bridge"), UNHEALTHY, "data-bridge requires clickhouse: without clickhouse it cannot work"),
        (
            service("tick-aggregator"),
            UNHEALTHY,
            "tick-aggregator requires clickhouse: without clickhouse it cannot work",
        ),
        (
            service("feature-engineering"),
            UNHEALTHY,
            "feature-engineering requires feature-store, which requires clickhouse: without clickhouse it cannot work",
        ),
    ]
    assert impact_of(Situation(TRADING, {}), "dragonflydb").hits[0].reason == (
        "feature-store uses dragonflydb: without dragonflydb it works, but is degraded"
    )


def test_a_database_that_is_down_is_checked_first_and_what_needs_it_is_started_in_order() -> None:
    assert recommended("clickhouse", clickhouse=REFUSED) == (
        "check clickhouse first: it is unhealthy: connection refused; it depends on nothing else",
        "when clickhouse is back, restart what does not recover by itself, in this order: feature-store; then"
        " data-bridge, feature-engineering, tick-aggregator",
    )


def test_what_is_down_underneath_comes_before() -> None:
    told = recommended("feature-store", feature_store=Observed(UNHEALTHY, "answered 503"), clickhouse=REFUSED)
    assert told[0] == "start with clickhouse: feature-store requires clickhouse, which is unhealthy: connection refused"
    told = recommended("feature-store", feature_store=Observed(HEALTHY), clickhouse=REFUSED)
    assert told[0].startswith("start with clickhouse: ")


def test_who_stays_down_for_another_reason_is_told() -> None:
    told = recommended("clickhouse", clickhouse=REFUSED, nats=Observed(UNHEALTHY))
    assert told[-1] == "clickhouse alone does not bring back tick-aggregator: nats is unhealthy too"


def test_who_works_without_it_is_told() -> None:
    assert recommended("dragonflydb", dragonflydb=Observed(DEGRADED, "slow")) == (
        "check dragonflydb first: it is degraded: slow; it depends on nothing else",
        "degraded, but at work without dragonflydb: feature-store, data-bridge, feature-engineering",
    )


@pytest.mark.parametrize(
    ("found", "first"),
    [
        (Observed(HEALTHY), "feature-store is healthy now; if it goes down, look first at what it depends on: cl"),
        (Observed(UNHEALTHY, "x"), "check feature-store first: it is unhealthy: x; nothing that it depends on is kno"),
        (Observed(HealthState.EXPIRED, "not probed"), "check feature-store first: nobody knows how it is: not probed"),
    ],
)
def test_where_to_begin_depends_on_how_it_is(found: Observed, first: str) -> None:
    assert recommended("feature-store", feature_store=found)[0].startswith(first)


def test_a_component_that_nobody_needs_is_told_so() -> None:
    situation = Situation(infrastructure({"db": {}}), {"db": Observed(HEALTHY)})
    assert impact_of(situation, "db").recommendations == ("nobody depends on db",)


def test_long_lists_are_counted_in_sentences_and_whole_beside_them() -> None:
    found = infrastructure({"db": {}}, {f"s{number:02}": {"db": MUST} for number in range(12)})
    impact = impact_of(Situation(found, {}), "db")
    assert impact.recommendations[-1].endswith("s08, s09 and 2 more")
    assert list(map(len, impact.restart)) == [12]


def test_what_a_service_depends_on_is_told_down_to_the_cause() -> None:
    states = {"feature-store": Observed(UNHEALTHY, "answered 503"), "clickhouse": REFUSED}
    [found] = Situation(TRADING, states).dependencies_of("feature-engineering")
    reason = "answered 503; it requires clickhouse, which is unhealthy: connection refused"
    assert found == Needed("feature-store", Need.REQUIRED, UNHEALTHY, reason)
    told = Situation(TRADING, states).dependencies_of("data-bridge")
    assert told[1] == Needed("dragonflydb", Need.OPTIONAL, None, None)
    assert Situation(TRADING, states).dependencies_of("unheard-of") == []


@st.composite
def moments(draw: st.DrawFn) -> tuple[Infrastructure, States]:
    found = draw(any_infrastructure())
    return found, draw(states_of(found))


@given(moments())
def test_who_is_hit_is_who_has_a_path_and_who_cannot_work_starts_again(moment: tuple[Infrastructure, States]) -> None:
    found, states = moment
    situation = Situation(found, {name: Observed(state) for name, state in states.items()})
    for name in found.components:
        impact = impact_of(situation, name)
        ways = {node: list(paths(found, node, name)) for node in nodes_of(found)}
        stopped = {node for node in ways if any(map(is_required, ways[node]))}
        assert {hit.dependent.node: hit.effect for hit in impact.hits} == {
            node: UNHEALTHY if node in stopped else DEGRADED for node in ways if ways[node]
        }
        assert {node for wave in impact.restart for node in wave} == stopped
        begun = set(nodes_of(found)) - stopped
        for wave in impact.restart:
            assert all(component(need) in begun for node in wave for need in situation.graph.needs_of(node))
            begun |= set(wave)
        assert len(impact.hits) == len({hit.dependent.node for hit in impact.hits})
        assert impact.recommendations


def test_of_five_hundred_components_every_impact_is_found_at_once() -> None:
    layers = {f"c{number}": {f"c{number - 100 - step}": MUST for step in (0, 7)} for number in range(150, 500)}
    components = {**{f"c{number}": dict[str, Need]() for number in range(150)}, **layers}
    services = {f"s{number}": {f"c{number % 500}": MUST} for number in range(500)}
    situation = Situation(infrastructure(components, services), dict.fromkeys(components, Observed(UNHEALTHY)))
    began = time.process_time()
    impacts = [impact_of(situation, name) for name in components]
    assert time.process_time() - began < 3  # about 0.1 on a machine of its own
    assert sum(len(impact.hits) for impact in impacts) > 4_000
