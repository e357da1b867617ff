"""Everything as one picture: how it is, what is to blame, and how it hangs together."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from central_hub.api.auth import needs
from central_hub.api.v1.openapi import PROBLEMS
from central_hub.api.v1.openapi_dependencies import DASHBOARD_DEPENDENCIES, DASHBOARD_HEALTH, DASHBOARD_SUMMARY
from central_hub.api.v1.queries import NoQuery
from central_hub.api.v1.scene import AMISS, Scene, alerts_to_json, answer, counted, node_to_json, scene_of
from central_hub.monitoring.dependencies import NodeKind, component, service
from central_hub.monitoring.infrastructure import Need
from central_hub.monitoring.overall import Overall, Parts, overall
from central_hub.monitoring.root_causes import Group, Unwell
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub_client.wire import HealthState

Reader = Annotated[Grant, Depends(needs(Verb.READ))]


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/dashboard`."""
    router = APIRouter(prefix="/dashboard", tags=["infrastructure"], responses=PROBLEMS)

    @router.get("/health", responses=DASHBOARD_HEALTH)
    async def health(grant: Reader, _: Annotated[NoQuery, Query()]) -> Response:
        """How everything is and why, whatever is amiss, and what is to blame for it.

        Of services it tells those that the token covers. The rules of `state`: docs/explanation/dependencies.md.
        """
        scene = await scene_of(hub, grant)
        found = _overall(hub, scene)
        return answer(
            hub,
            {
                "state": found.state,
                "reason": found.reason,
                "hub": hub.health_report(),
                "infrastructure": {
                    **_components(scene),
                    "amiss": [
                        {"name": name, "state": each.state, "reason": scene.situation.reason_of(name)}
                        for name, each in sorted(scene.situation.known.items())
                        if each.state in AMISS
                    ],
                },
                "services": {
                    **_services(scene),
                    "amiss": [
                        {"service": name, "environment": environment, "state": each.state, "reason": each.reason}
                        for (name, environment), each in sorted(scene.services.items())
                        if each.state in AMISS
                    ],
                },
                "alerts": alerts_to_json(hub),
                "causes": [_cause(scene, group) for group in scene.groups()],
            },
        )

    @router.get("/summary", responses=DASHBOARD_SUMMARY)
    async def summary(grant: Reader, _: Annotated[NoQuery, Query()]) -> Response:
        """How everything is, in one word and in numbers: components, services by environment, and their instances."""
        scene = await scene_of(hub, grant)
        found = _overall(hub, scene)
        instances: Counter[HealthState] = Counter()
        for each in scene.services.values():
            instances.update(each.counts)
        return answer(
            hub,
            {
                "state": found.state,
                "reason": found.reason,
                "hub": hub.health().state,
                "infrastructure": _components(scene),
                "services": _services(scene),
                "instances": {
                    "total": instances.total(),
                    "states": {str(state): instances[state] for state in HealthState},
                },
                "alerts": alerts_to_json(hub),
            },
        )

    @router.get("/dependencies", responses=DASHBOARD_DEPENDENCIES)
    async def dependencies(grant: Reader, _: Annotated[NoQuery, Query()]) -> Response:
        """Who depends on whom, how all are, in which order they start, and what is to blame where some are unwell.

        A service is told in the state of that of its environments, of those that the token covers, where it is worst.
        """
        scene = await scene_of(hub, grant)
        graph = scene.situation.graph
        return answer(
            hub,
            {
                "nodes": _nodes(scene),
                "edges": [
                    {
                        "kind": edge.dependent.kind,
                        "dependent": edge.dependent.name,
                        "component": edge.component,
                        "need": edge.need,
                    }
                    for edge in graph.edges()
                ],
                "start_order": [[node_to_json(node) for node in wave] for wave in graph.waves],
                "causes": [_cause(scene, group) for group in scene.groups()],
                "not_covered": scene.not_covered,
            },
        )

    return router


def _overall(hub: CentralHubService, scene: Scene) -> Overall:
    graph = scene.situation.graph
    states = {name: found.state for name, found in scene.situation.known.items()}
    needed = frozenset(
        name
        for name, state in states.items()
        if state is HealthState.UNHEALTHY
        and any(
            each.node.kind is NodeKind.SERVICE and each.need is Need.REQUIRED
            for each in graph.dependents(name).values()
        )
    )
    services = {place: health.state for place, health in scene.services.items()}
    return overall(Parts(hub.health().state, services, states, needed))


def _components(scene: Scene) -> dict[str, Any]:
    known, total = scene.situation.known, len(scene.situation.graph.components)
    return {
        "total": total,
        "states": counted(found.state for found in known.values()),
        "not_probed": total - len(known),
    }


def _services(scene: Scene) -> dict[str, Any]:
    return {
        "total": len(scene.services),
        "states": counted(health.state for health in scene.services.values()),
    }


def _nodes(scene: Scene) -> list[dict[str, Any]]:
    graph, components = scene.situation.graph, scene.situation.infrastructure.components
    told = [(component(name), components[name]) for name in graph.components]
    nodes = [*told, *((service(name), None) for name in graph.services)]
    return [
        {
            **node_to_json(node),
            "section": None if found is None else found.section,
            "type": None if found is None else found.type,
            "state": scene.state_of(node),
            "reason": scene.reason_of(node),
        }
        for node, found in nodes
    ]


def _cause(scene: Scene, group: Group) -> dict[str, Any]:
    cause = group.cause
    return {
        **_unwell(cause),
        "reason": scene.reason_of(cause.node, cause.environment),
        "explains": [_unwell(each) for each in group.explained],
    }


def _unwell(each: Unwell) -> dict[str, Any]:
    return {**node_to_json(each.node), "environment": each.environment or None, "state": each.state}
