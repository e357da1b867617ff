"""Infrastructures for tests, by hand and at random."""

from collections.abc import Iterator, Mapping

from hypothesis import strategies as st

from central_hub.monitoring.dependencies import Edge, Node, NodeKind, component, service
from central_hub.monitoring.infrastructure import Component, Infrastructure, Need, Section
from central_hub_client.wire import HealthState

MUST, MAY = Need.REQUIRED, Need.OPTIONAL
States = Mapping[str, HealthState]


def infrastructure(
    components: Mapping[str, Mapping[str, Need]], services: Mapping[str, Mapping[str, Need]] | None = None
) -> Infrastructure:
    """Components by name, each with what it depends on, and services likewise."""
    made = {
        name: Component(name, Section.DATABASES, "postgresql", {"host": "127.0.0.1"}, None, needs)
        for name, needs in components.items()
    }
    return Infrastructure(made, services or {})


TRADING = infrastructure(
    {
        "clickhouse": {},
        "dragonflydb": {},
        "postgresql": {},
        "nats": {},
        "feature-store": {"clickhouse": MUST, "dragonflydb": MAY},
    },
    {
        "tick-aggregator": {"postgresql": MUST, "clickhouse": MUST, "nats": MUST},
        "data-bridge": {"clickhouse": MUST, "dragonflydb": MAY},
        "feature-engineering": {"feature-store": MUST},
    },
)
"""As in the example that comes with the hub, somewhat smaller."""


@st.composite
def any_infrastructure(draw: st.DrawFn) -> Infrastructure:
    """Up to seven components without a circle, and up to five services; some bear the same name."""
    count = draw(st.integers(1, 7))
    names = draw(st.permutations([f"n{number}" for number in range(count)]))
    needs = st.sampled_from(Need)
    components = {
        name: draw(st.dictionaries(st.sampled_from(names[:number]), needs)) if number else {}
        for number, name in enumerate(names)
    }
    services = draw(
        st.dictionaries(
            st.sampled_from([f"n{number}" for number in range(5)]), st.dictionaries(st.sampled_from(names), needs)
        )
    )
    return infrastructure(components, services)


def states_of(found: Infrastructure) -> st.SearchStrategy[States]:
    """How components are; of some nobody knows."""
    return st.dictionaries(st.sampled_from(sorted(found.components)), st.sampled_from(HealthState))


def needs_of(found: Infrastructure, node: Node) -> Mapping[str, Need]:
    if node.kind is NodeKind.SERVICE:
        return found.services[node.name]
    return found.components[node.name].depends_on


def nodes_of(found: Infrastructure) -> list[Node]:
    return [*map(component, found.components), *map(service, found.services)]


def paths(found: Infrastructure, node: Node, target: str) -> Iterator[tuple[Edge, ...]]:
    """Every path from somebody to a component: the plain model that the graph is held against."""
    for name, need in needs_of(found, node).items():
        edge = Edge(node, name, need)
        if name == target:
            yield (edge,)
        for further in paths(found, component(name), target):
            yield (edge, *further)


def is_required(path: tuple[Edge, ...]) -> bool:
    return all(edge.need is MUST for edge in path)
