"""Of many that are unwell at once, which are the cause, and which only suffer from it. Pure.

The rules, and where they end, are told in docs/explanation/dependencies.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.dependencies import Dependent, Graph, Node, NodeKind, component
from central_hub.monitoring.infrastructure import Need
from central_hub.storage.alert_values import Affected
from central_hub_client.wire import HealthState

HARMFUL: Final = frozenset({HealthState.DEGRADED, HealthState.UNHEALTHY})
"""The states of a component that others suffer from. Of one that is `starting` or `expired` nobody knows how it is."""


@dataclass(frozen=True, slots=True, order=True)
class Unwell:
    """A component, or a service in an environment, that is not as it should be."""

    node: Node
    state: HealthState
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """A component that explains why somebody is unwell, and how he depends on it."""

    component: str
    state: HealthState
    dependent: Dependent

    def told(self) -> str:
        """`requires feature-store, which requires clickhouse, which is unhealthy`."""
        return f"{self.dependent.told()}, which is {self.state}"


@dataclass(frozen=True, slots=True)
class Group:
    """Something that nothing else explains, and all that it explains."""

    cause: Unwell
    explained: tuple[Unwell, ...]


class RootCauses:
    """What the components that are unwell explain.

    Who folds what is told about somebody into what is told about a cause makes sure that the cause is told itself.
    """

    def __init__(self, graph: Graph, components: Mapping[str, HealthState]) -> None:
        harmful = {
            name: state for name, state in sorted(components.items()) if state in HARMFUL and component(name) in graph
        }
        hit = {name: graph.dependents(name) for name in harmful}
        explained = {
            dependent.node.name
            for name, dependents in hit.items()
            for dependent in dependents.values()
            if dependent.node.kind is NodeKind.COMPONENT
            and dependent.node.name in harmful
            and _explains(harmful[name], dependent.need, harmful[dependent.node.name])
        }
        self._states: Final = {name: state for name, state in harmful.items() if name not in explained}
        self._ways: Final[dict[Node, list[tuple[str, Dependent]]]] = {}
        for name in self._states:
            for dependent in hit[name].values():
                self._ways.setdefault(dependent.node, []).append((name, dependent))

    @property
    def components(self) -> tuple[str, ...]:
        """The components that harm others, or could, and that no other component explains."""
        return tuple(self._states)

    def of(self, node: Node, state: HealthState) -> tuple[Cause, ...]:
        """What explains that somebody is in this state: nothing where he is well, or is a cause himself."""
        if node.kind is NodeKind.COMPONENT and state not in HARMFUL:
            return ()
        return tuple(
            Cause(name, self._states[name], dependent)
            for name, dependent in self._ways.get(node, ())
            if _explains(self._states[name], dependent.need, state)
        )

    def group(self, unwell: Iterable[Unwell]) -> tuple[Group, ...]:
        """The causes among those who are unwell, who explains most first; who has several causes is under each."""
        causes: dict[Unwell, list[Unwell]] = {}
        by_component: dict[str, list[Unwell]] = {}
        for each in sorted(unwell):
            found = self.of(each.node, each.state)
            for cause in found:
                by_component.setdefault(cause.component, []).append(each)
            if not found:
                causes[each] = []
        for cause_name, explained in by_component.items():
            causes[Unwell(component(cause_name), self._states[cause_name])] = explained
        groups = (Group(cause, tuple(explained)) for cause, explained in causes.items())
        return tuple(sorted(groups, key=lambda group: (-len(group.explained), group.cause)))


def reach(graph: Graph, components: Mapping[str, HealthState]) -> dict[str, tuple[Affected, ...]]:
    """For each component that is down, who cannot work without it, whether or not that shows yet."""
    return {
        name: tuple(
            Affected(_KINDS[dependent.node.kind], dependent.node.name, "")
            for dependent in graph.dependents(name).values()
            if dependent.need is Need.REQUIRED
        )
        for name, state in components.items()
        if state is HealthState.UNHEALTHY and component(name) in graph
    }


def blame(causes: RootCauses, conditions: Iterable[Condition]) -> dict[tuple[str, str, str], frozenset[str]]:
    """For each condition that components explain, by kind, subject and environment, the components to blame."""
    blamed = {
        (condition.kind, condition.subject, condition.environment): frozenset(
            cause.component
            for cause in causes.of(Node(_NODES[condition.kind], condition.subject), HealthState(condition.state))
        )
        for condition in conditions
        if condition.kind in _NODES
    }
    return {subject: found for subject, found in blamed.items() if found}


_KINDS: Final = {NodeKind.COMPONENT: ConditionKind.INFRASTRUCTURE, NodeKind.SERVICE: ConditionKind.SERVICE}
_NODES: Final = {ConditionKind.INFRASTRUCTURE: NodeKind.COMPONENT, ConditionKind.SERVICE: NodeKind.SERVICE}


def _explains(cause: HealthState, need: Need, state: HealthState) -> bool:
    """An effect is never worse than its cause: what is only degraded, or can be done without, stops nobody."""
    if state is HealthState.DEGRADED:
        return True
    return (
        state in (HealthState.UNHEALTHY, HealthState.EXPIRED)
        and cause is HealthState.UNHEALTHY
        and need is Need.REQUIRED
    )
