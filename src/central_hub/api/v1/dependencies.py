"""Who depends on a component, and what it means that it is down."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from central_hub.api.auth import needs
from central_hub.api.v1.infrastructure import ComponentPath, find_component
from central_hub.api.v1.openapi import PROBLEMS
from central_hub.api.v1.openapi_dependencies import DEPENDENTS, IMPACT
from central_hub.api.v1.queries import NoQuery
from central_hub.api.v1.scene import Scene, answer, node_to_json, scene_of
from central_hub.monitoring.dependencies import Dependent, component
from central_hub.monitoring.impact import impact_of
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService

Reader = Annotated[Grant, Depends(needs(Verb.READ))]


def routes(hub: CentralHubService) -> APIRouter:
    """What `/infrastructure/{name}` has to do with everybody else."""
    router = APIRouter(prefix="/infrastructure", tags=["infrastructure"], responses=PROBLEMS)

    @router.get("/{name}/dependents", responses=DEPENDENTS)
    async def dependents(grant: Reader, name: ComponentPath, _: Annotated[NoQuery, Query()]) -> Response:
        """Who depends on a component, directly or not, by which way, and how he is now. The nearest come first.

        `need` is `required` where every step of the way is. Services are those that the token covers.
        """
        scene = await _scene(hub, grant, name)
        found = scene.situation.graph.dependents(name).values()
        return answer(
            hub,
            {
                **_about(scene, name),
                "dependents": [_dependent(scene, each) | {"direct": each.is_direct} for each in found],
            },
        )

    @router.get("/{name}/impact", responses=IMPACT)
    async def impact(grant: Reader, name: ComponentPath, _: Annotated[NoQuery, Query()]) -> Response:
        """Who is hit when a component is down, whether it is or not, and what to do.

        `effect` is what becomes of each: `unhealthy` cannot work without it, `degraded` can; `state` is how he is now.
        `restart` is the order in which those start again who cannot work without it.
        """
        scene = await _scene(hub, grant, name)
        found = impact_of(scene.situation, name)
        return answer(
            hub,
            {
                **_about(scene, name),
                "hits": [
                    _dependent(scene, hit.dependent) | {"effect": hit.effect, "reason": hit.reason}
                    for hit in found.hits
                ],
                "restart": [[node_to_json(node) for node in wave] for wave in found.restart],
                "recommendations": list(found.recommendations),
            },
        )

    return router


async def _scene(hub: CentralHubService, grant: Grant, name: str) -> Scene:
    find_component(hub, name)
    return await scene_of(hub, grant)


def _about(scene: Scene, name: str) -> dict[str, Any]:
    node = component(name)
    return {
        "component": name,
        "state": scene.state_of(node),
        "reason": scene.reason_of(node),
        "not_covered": scene.not_covered,
    }


def _dependent(scene: Scene, dependent: Dependent) -> dict[str, Any]:
    return {
        **node_to_json(dependent.node),
        "need": dependent.need,
        "path": dependent.names,
        "state": scene.state_of(dependent.node),
    }
