"""Who depends on whom, held against a model that tries every path."""

import time

from hypothesis import given

from central_hub.monitoring.dependencies import Graph, component, service
from central_hub.monitoring.infrastructure import Infrastructure, Need
from tests.unit.monitoring.infrastructures import (
    MAY,
    MUST,
    TRADING,
    any_infrastructure,
    infrastructure,
    is_required,
    needs_of,
    nodes_of,
    paths,
)


def test_dependents_are_told_with_their_way() -> None:
    found = Graph(TRADING).dependents("dragonflydb")
    assert {(each.node, each.need, each.told(), each.is_direct) for each in found.values()} == {
        (service("data-bridge"), MAY, "uses dragonflydb", True),
        (component("feature-store"), MAY, "uses dragonflydb", True),
        (service("feature-engineering"), MAY, "requires feature-store, which uses dragonflydb", False),
    }
    assert found[service("feature-engineering")].names == ["feature-engineering", "feature-store", "dragonflydb"]


def test_who_cannot_do_without_is_told_so_even_where_a_shorter_way_is_optional() -> None:
    found = Graph(infrastructure({"db": {}, "cache": {"db": MUST}}, {"web": {"db": MAY, "cache": MUST}}))
    [dependent] = [each for each in found.dependents("db").values() if each.node == service("web")]
    assert (dependent.need, dependent.told()) == (MUST, "requires cache, which requires db")


def test_a_service_may_have_the_name_of_a_component() -> None:
    found = Graph(infrastructure({"nats": {}}, {"nats": {"nats": MUST}}))
    assert list(found.dependents("nats")) == [service("nats")]
    assert found.waves == ((component("nats"),), (service("nats"),))


def test_the_start_order_is_in_waves_with_the_services_last() -> None:
    assert [[node.name for node in wave] for wave in Graph(TRADING).waves] == [
        ["clickhouse", "dragonflydb", "nats", "postgresql"],
        ["feature-store"],
        ["data-bridge", "feature-engineering", "tick-aggregator"],
    ]
    assert Graph(Infrastructure()).waves == ()


@given(any_infrastructure())
def test_dependents_are_those_with_a_path_and_need_it_as_much_as_their_best_path_says(found: Infrastructure) -> None:
    graph = Graph(found)
    for name in found.components:
        model = {node: ways for node in nodes_of(found) if (ways := list(paths(found, node, name)))}
        told = graph.dependents(name)
        assert told.keys() == model.keys()
        for node, ways in model.items():
            required = [way for way in ways if is_required(way)]
            assert told[node].path in (required or ways)
            assert told[node].need is (Need.REQUIRED if required else Need.OPTIONAL)
            assert len(told[node].path) == min(map(len, required or ways))


@given(any_infrastructure())
def test_everything_starts_once_and_after_what_it_needs(found: Infrastructure) -> None:
    waves = Graph(found).waves
    at = {node: number for number, wave in enumerate(waves) for node in wave}
    assert sum(map(len, waves)) == len(at)
    assert at.keys() == set(nodes_of(found))
    for node in at:
        assert all(at[component(name)] < at[node] for name in needs_of(found, node))
    services = {at[node] for node in map(service, found.services)}
    assert services <= {len(waves) - 1}


@given(any_infrastructure())
def test_the_order_of_the_file_is_of_no_matter(found: Infrastructure) -> None:
    turned = Infrastructure(
        dict(reversed(found.components.items())),
        {name: dict(reversed(needs.items())) for name, needs in reversed(found.services.items())},
    )
    one, other = Graph(found), Graph(turned)
    assert list(one.edges()) == list(other.edges())
    assert one.waves == other.waves
    for name in found.components:
        assert [each.path for each in one.dependents(name).values()] == [
            each.path for each in other.dependents(name).values()
        ]


def test_of_five_hundred_components_all_dependents_are_found_at_once() -> None:
    layers = {f"c{number}": {f"c{number - 100 - step}": MUST for step in (0, 7)} for number in range(150, 500)}
    components = {**{f"c{number}": dict[str, Need]() for number in range(150)}, **layers}
    services = {f"s{number}": {f"c{number % 500}": MUST, f"c{number * 7 % 500}": MAY} for number in range(1000)}
    graph = Graph(infrastructure(components, services))
    began = time.process_time()
    found = [graph.dependents(name) for name in components]
    assert time.process_time() - began < 3  # about 0.04 on a machine of its own
    assert sum(map(len, found)) > 10_000
