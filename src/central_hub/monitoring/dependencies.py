"""Who depends on whom, over how many corners, and in which order everything starts. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter
from typing import Final

from central_hub.monitoring.infrastructure import Infrastructure, Need


class NodeKind(StrEnum):
    """A service may have the name of a component."""

    COMPONENT = "component"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A component or a service. Services depend on components; nothing depends on a service."""

    kind: NodeKind
    name: str


@dataclass(frozen=True, slots=True)
class Edge:
    """`dependent` depends on `component`."""

    dependent: Node
    component: str
    need: Need


@dataclass(frozen=True, slots=True, eq=False)
class Dependent:
    """Somebody who depends on a component: by his own `edge`, and `behind` it by what that depends on in turn.

    He requires it only where every step is required: what one can do without shields from all that is behind it.
    """

    node: Node
    need: Need
    edge: Edge
    behind: "Dependent | None" = None

    @property
    def path(self) -> tuple[Edge, ...]:
        """Every step from him to the component."""
        steps = []
        here: Dependent | None = self
        while here is not None:
            steps.append(here.edge)
            here = here.behind
        return tuple(steps)

    @property
    def is_direct(self) -> bool:
        return self.behind is None

    @property
    def names(self) -> list[str]:
        """All on the way, from the one who depends to the component."""
        return [self.node.name, *(edge.component for edge in self.path)]

    def told(self) -> str:
        """`requires feature-store, which uses dragonflydb`."""
        return ", which ".join(f"{_VERBS[edge.need]} {edge.component}" for edge in self.path)


class Graph:
    """All dependencies of an infrastructure."""

    def __init__(self, infrastructure: Infrastructure) -> None:
        self.components: Final = tuple(sorted(infrastructure.components))
        self.services: Final = tuple(sorted(infrastructure.services))
        self._needs: Final[dict[Node, Mapping[str, Need]]] = {
            **{component(name): infrastructure.components[name].depends_on for name in self.components},
            **{service(name): infrastructure.services[name] for name in self.services},
        }
        self._edges_to: Final[dict[str, list[Edge]]] = {name: [] for name in self.components}
        for edge in self.edges():
            self._edges_to[edge.component].append(edge)
        self.waves: Final = tuple(self._start_order())
        """What may start together, in order: each needs only what started before. All services come last."""
        self.wave_of: Final = {node: number for number, wave in enumerate(self.waves) for node in wave}

    def __contains__(self, node: Node) -> bool:
        return node in self._needs

    def edges(self) -> Iterator[Edge]:
        """Every dependency, components' first, in the order of names."""
        for node, needs in self._needs.items():
            for name, need in sorted(needs.items()):
                yield Edge(node, name, need)

    def needs_of(self, node: Node) -> Mapping[str, Need]:
        """What it depends on itself; nothing where it is not known."""
        return self._needs.get(node, {})

    def dependents(self, name: str) -> dict[Node, Dependent]:
        """Whoever depends on a component, directly or not, the nearest first.

        Each is told by his shortest way, of those that are required at every step where there are any.
        """
        required = self._walk(name, (Need.REQUIRED,))
        return {node: required.get(node, dependent) for node, dependent in self._walk(name, tuple(Need)).items()}

    def _start_order(self) -> Iterator[tuple[Node, ...]]:
        sorter = TopologicalSorter({name: self.needs_of(component(name)) for name in self.components})
        sorter.prepare()
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            sorter.done(*ready)
            yield tuple(map(component, ready))
        if self.services:
            yield tuple(map(service, self.services))

    def _walk(self, name: str, needs: tuple[Need, ...]) -> dict[Node, Dependent]:
        found: dict[Node, Dependent] = {}
        reached: list[tuple[str, Dependent | None]] = [(name, None)]
        for there, behind in reached:
            for edge in self._edges_to[there]:
                if edge.need not in needs or edge.dependent in found:
                    continue
                need = edge.need if behind is None or edge.need is Need.OPTIONAL else behind.need
                found[edge.dependent] = dependent = Dependent(edge.dependent, need, edge, behind)
                if edge.dependent.kind is NodeKind.COMPONENT:
                    reached.append((edge.dependent.name, dependent))
        return found


def component(name: str) -> Node:
    """The component of this name."""
    return Node(NodeKind.COMPONENT, name)


def service(name: str) -> Node:
    """The service of this name."""
    return Node(NodeKind.SERVICE, name)


_VERBS: Final = {Need.REQUIRED: "requires", Need.OPTIONAL: "uses"}
