"""The infrastructure as it is at a moment: the dependencies, how each component is, and what is to blame. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from central_hub.monitoring.dependencies import Graph, component, service
from central_hub.monitoring.infrastructure import Infrastructure, Need
from central_hub.monitoring.root_causes import Cause, RootCauses
from central_hub_client.wire import HealthState


@dataclass(frozen=True, slots=True)
class Observed:
    """How a component is, as far as it was probed."""

    state: HealthState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Needed:
    """A component that somebody depends on, and how it is: `state` is None where it is not probed."""

    name: str
    need: Need
    state: HealthState | None
    reason: str | None


class Situation:
    """An infrastructure, and how its components are. Of those that are not in `known` nobody knows."""

    def __init__(self, infrastructure: Infrastructure, known: Mapping[str, Observed]) -> None:
        self.infrastructure: Final = infrastructure
        self.graph: Final = Graph(infrastructure)
        self.known: Final = {name: found for name, found in known.items() if name in infrastructure.components}
        self.causes: Final = RootCauses(self.graph, {name: found.state for name, found in self.known.items()})

    def dependencies_of(self, service_name: str) -> list[Needed]:
        """What a service depends on itself. The reason of what is unwell leads down to what is to blame."""
        return [
            Needed(name, need, None if found is None else found.state, self.reason_of(name))
            for name, need in sorted(self.graph.needs_of(service(service_name)).items())
            for found in [self.known.get(name)]
        ]

    def reason_of(self, name: str) -> str | None:
        """Why a component is as it is: what was observed, and what explains that."""
        found = self.known.get(name)
        if found is None:
            return None
        told = [found.reason] if found.reason else []
        told += [f"it {self.told(cause)}" for cause in self.causes.of(component(name), found.state)]
        return "; ".join(told) or None

    def told(self, cause: Cause) -> str:
        """`requires clickhouse, which is unhealthy: connection refused`."""
        return f"{cause.told()}{self.why(cause.component)}"

    def why(self, name: str) -> str:
        """`: connection refused`, where a reason was observed."""
        found = self.known.get(name)
        return f": {found.reason}" if found is not None and found.reason else ""
