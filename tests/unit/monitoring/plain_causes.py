"""Who is to blame and who is hit, by going every way there is. Nothing here knows how the hub does it."""

from collections.abc import Mapping

from central_hub.monitoring.dependencies import Node, NodeKind, component
from central_hub.monitoring.infrastructure import Infrastructure, Need
from tests.unit.monitoring.infrastructures import needs_of, nodes_of


class PlainCauses:
    """The way from everybody to everything he needs, over any number of corners: required where one way is at all of
    its steps."""

    def __init__(self, infrastructure: Infrastructure) -> None:
        self._infrastructure = infrastructure
        self.ways = {node: self._ways(node) for node in nodes_of(infrastructure)}

    def roots(self, states: Mapping[str, str]) -> set[str]:
        """Of the components that are not well, those that no other one explains."""
        return {
            name
            for name, state in states.items()
            if state != "expired" and not any(self._explains(other, component(name), state, states) for other in states)
        }

    def of(self, node: Node, state: str, states: Mapping[str, str], roots: set[str]) -> set[str]:
        """Those of the roots that explain that somebody is in this state."""
        return {name for name in roots if self._explains(name, node, state, states)}

    def stopped_by(self, name: str) -> set[Node]:
        """Who cannot work without a component."""
        return {node for node, ways in self.ways.items() if ways.get(name) is Need.REQUIRED}

    def _explains(self, cause: str, node: Node, state: str, states: Mapping[str, str]) -> bool:
        need = self.ways[node].get(cause)
        if need is None or "expired" in (states[cause], state if node.kind is NodeKind.COMPONENT else ""):
            return False
        return state == "degraded" or (states[cause] == "unhealthy" and need is Need.REQUIRED)

    def _ways(self, node: Node) -> dict[str, Need]:
        found: dict[str, Need] = {}
        for name, need in needs_of(self._infrastructure, node).items():
            for behind, further in {name: Need.REQUIRED, **self._ways(component(name))}.items():
                both = Need.REQUIRED if need is further is Need.REQUIRED else Need.OPTIONAL
                found[behind] = Need.REQUIRED if Need.REQUIRED in (both, found.get(behind)) else both
        return found
