"""The infrastructure, and the services on it, as one token may see them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

import orjson
from fastapi import Response

from central_hub.coordination.fleet import Place
from central_hub.coordination.service_health import Dependency, ServiceHealth, roll_up
from central_hub.monitoring.dependencies import Node, NodeKind, component, service
from central_hub.monitoring.infrastructure import Need
from central_hub.monitoring.root_causes import HARMFUL, Group, Unwell
from central_hub.monitoring.situation import Needed, Observed, Situation
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService
from central_hub_client.wire import HUB_STALE, HealthState

WORST_FIRST: Final = (
    HealthState.UNHEALTHY,
    HealthState.EXPIRED,
    HealthState.DEGRADED,
    HealthState.STARTING,
    HealthState.DRAINING,
    HealthState.HEALTHY,
)
AMISS: Final = HARMFUL | {HealthState.EXPIRED}
_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a token may see: the components, and the services that it covers, in the environments that it covers.

    `not_covered` counts the services of the file that it does not.
    """

    situation: Situation
    services: Mapping[Place, ServiceHealth]
    worst: Mapping[str, ServiceHealth]
    """Of each service how it is where it is worst."""
    not_covered: int

    def state_of(self, node: Node) -> HealthState | None:
        """How a component is, or a service where it is worst; None where nobody knows."""
        is_component = node.kind is NodeKind.COMPONENT
        found = self.situation.known.get(node.name) if is_component else self.worst.get(node.name)
        return None if found is None else found.state

    def reason_of(self, node: Node, environment: str = "") -> str | None:
        """Why it is so; of a service in this environment, or where it is worst."""
        if node.kind is NodeKind.COMPONENT:
            return self.situation.reason_of(node.name)
        found = self.services.get((node.name, environment), self.worst.get(node.name))
        return None if found is None else found.reason

    def groups(self) -> tuple[Group, ...]:
        """What is to blame, and what it explains."""
        components = {name: found.state for name, found in self.situation.known.items()}
        unwell = [Unwell(component(name), state) for name, state in components.items() if state in AMISS]
        unwell += [
            Unwell(service(name), health.state, environment)
            for (name, environment), health in self.services.items()
            if health.state in AMISS
        ]
        return self.situation.causes.group(unwell)


def situation_of(hub: CentralHubService, is_seen: Callable[[str], bool]) -> Situation:
    """How the components are as this replica knows it, with those services alone that may be seen."""
    found = hub.monitoring.infrastructure()
    seen = replace(found, services={name: needs for name, needs in found.services.items() if is_seen(name)})
    targets = hub.monitoring.targets
    return Situation(seen, {name: Observed(target.state, target.reason) for name, target in targets.items()})


async def scene_of(hub: CentralHubService, grant: Grant) -> Scene:
    """Everything as this replica knows it now."""
    situation = situation_of(hub, grant.covers_service)
    healths: dict[Place, ServiceHealth] = {}
    for number, name in enumerate(hub.coordination.fleet.services):
        if not grant.covers_service(name):
            continue
        depends_on = as_rolled_up(situation.dependencies_of(name))
        members = hub.coordination.fleet.members(name, hub.coordination.as_of)
        for place, there in groupby(members, key=lambda member: member.instance.key[:2]):
            if grant.covers(*place):
                healths[place] = roll_up(there, depends_on)
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)  # a thousand take a while: others go on in between
    # The worst comes last, and stays.
    by_badness = sorted(healths.items(), key=lambda item: WORST_FIRST.index(item[1].state), reverse=True)
    not_covered = sum(not grant.covers_service(name) for name in hub.monitoring.infrastructure().services)
    return Scene(situation, healths, {name: health for (name, _), health in by_badness}, not_covered)


def as_rolled_up(dependencies: Iterable[Needed]) -> list[Dependency]:
    """What a service depends on, as the health of services knows it."""
    return [Dependency(each.name, each.need is Need.REQUIRED, each.state, each.reason) for each in dependencies]


def counted(states: Iterable[HealthState | None]) -> dict[str, int]:
    """How many are in each state."""
    found = list(states)
    return {str(state): found.count(state) for state in HealthState}


def node_to_json(node: Node) -> dict[str, Any]:
    return {"kind": node.kind, "name": node.name}


def answer(hub: CentralHubService, value: Any) -> Response:
    """The answer, marked where what it tells may be out of date."""
    headers = {HUB_STALE: "true"} if hub.coordination.is_stale or hub.monitoring.is_stale else None
    return Response(orjson.dumps(value), media_type="application/json", headers=headers)
