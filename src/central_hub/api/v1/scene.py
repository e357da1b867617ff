"""The infrastructure, and the services on it, as one token may see them."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import orjson
from fastapi import Response

from central_hub.coordination.fleet import Place
from central_hub.coordination.service_health import ServiceHealth
from central_hub.monitoring.dependencies import Node, NodeKind, component, service
from central_hub.monitoring.root_causes import HARMFUL, Group, Unwell
from central_hub.monitoring.rules import Severity
from central_hub.monitoring.situation import Situation
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService
from central_hub.situations import health_of, situation_of
from central_hub.storage.alert_values import AlertState
from central_hub_client.wire import HUB_STALE, WORST_FIRST, HealthState

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


async def scene_of(hub: CentralHubService, grant: Grant) -> Scene:
    """Everything as this replica knows it now."""
    infrastructure = hub.monitoring.infrastructure()
    covered = [name for name in infrastructure.services if grant.covers_service(name)]
    situation = situation_of(infrastructure, hub.monitoring.targets, covered)
    healths: dict[Place, ServiceHealth] = {}
    for number, name in enumerate(hub.coordination.fleet.services):
        if not grant.covers_service(name):
            continue
        members = hub.coordination.fleet.members(name, hub.coordination.as_of)
        for place, there in groupby(members, key=lambda member: member.instance.key[:2]):
            if grant.covers(*place):
                healths[place] = health_of(name, there, situation)
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)  # a thousand take a while: others go on in between
    # The worst comes last, and stays.
    by_badness = sorted(healths.items(), key=lambda item: WORST_FIRST.index(item[1].state), reverse=True)
    worst = {name: health for (name, _), health in by_badness}
    return Scene(situation, healths, worst, len(infrastructure.services) - len(covered))


def counted(states: Iterable[HealthState | None]) -> dict[str, int]:
    """How many are in each state."""
    found = list(states)
    return {str(state): found.count(state) for state in HealthState}


def alerts_to_json(hub: CentralHubService) -> dict[str, Any]:
    """How many alerts are open, by state and severity: all of them, also of services that the token does not cover."""
    return {
        str(state): {str(severity): hub.alerting.counts.get((state, severity), 0) for severity in Severity}
        for state in (AlertState.FIRING, AlertState.PENDING)
    }


def node_to_json(node: Node) -> dict[str, Any]:
    return {"kind": node.kind, "name": node.name}


def answer(hub: CentralHubService, value: Any) -> Response:
    """The answer, marked where what it tells may be out of date."""
    headers = {HUB_STALE: "true"} if hub.coordination.is_stale or hub.monitoring.is_stale else None
    return Response(orjson.dumps(value), media_type="application/json", headers=headers)
