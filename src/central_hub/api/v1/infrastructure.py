"""What is under the services: how each component is, since when and why."""

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Response

from central_hub.api.auth import authorise_for_the_fleet, needs
from central_hub.api.v1.openapi import PROBLEMS
from central_hub.api.v1.openapi_infrastructure import CHECKED, COMPONENT, INFRASTRUCTURE
from central_hub.api.v1.queries import InfrastructureQuery, NoQuery, TransitionsQuery
from central_hub.audit.chain import rfc3339
from central_hub.errors import NotFound, StoreUnavailable
from central_hub.monitoring.infrastructure import Component, Maintenance, ProbeSettings
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.target_values import Target, Transition
from central_hub_client.wire import HUB_STALE

ComponentPath = Annotated[str, Path(max_length=200, description="The component.")]
Reader = Annotated[Grant, Depends(needs(Verb.READ))]
Writer = Annotated[Grant, Depends(needs(Verb.WRITE))]


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/infrastructure`."""
    router = APIRouter(prefix="/infrastructure", tags=["infrastructure"], responses=PROBLEMS)

    @router.get("/", responses=INFRASTRUCTURE)
    async def list_components(_grant: Reader, query: Annotated[InfrastructureQuery, Query()]) -> Response:
        """Every component of the infrastructure's file with its state, since when, and why.

        `starting`: not probed yet. `degraded`: it fails, not yet often enough to count, or it flaps. `expired`: nobody
        has measured it for three intervals, or a minute where that is longer.
        """
        targets = hub.monitoring.targets
        shown = [
            _summary(hub, component, targets.get(name))
            for name, component in sorted(hub.monitoring.infrastructure().components.items())
            if query.section in (None, component.section)
        ]
        found = [each for each in shown if query.state in (None, each["state"])]
        return _answer(hub, {"components": found, "error": hub.monitoring.why_refused()})

    @router.get("/{name}", responses=COMPONENT)
    async def one_component(
        _grant: Reader, name: ComponentPath, query: Annotated[TransitionsQuery, Query()]
    ) -> Response:
        """A component: how it is, how it is reached and probed, and how its state came to be."""
        component = find_component(hub, name)
        is_stale = hub.monitoring.is_stale
        try:
            transitions = await hub.monitoring.transitions(name, limit=query.limit)
        except StoreUnavailable:
            transitions, is_stale = hub.monitoring.unwritten_transitions(name)[: query.limit], True
        told = {
            **_summary(hub, component, hub.monitoring.targets.get(name)),
            "connection": component.connection,
            "probe": None if component.probe is None else _probe(component.probe),
            "depends_on": component.depends_on,
            "transitions": _history(transitions),
        }
        return _answer(hub, told, is_stale=is_stale)

    @router.post("/{name}/check", responses=CHECKED)
    async def check(grant: Writer, name: ComponentPath, _: Annotated[NoQuery, Query()]) -> Response:
        """Probe a component now, from the replica that is asked, and say what came of it. It counts as any other probe.

        Whoever asks while one runs, or within a second of its beginning, gets the result of that.
        """
        authorise_for_the_fleet(grant)
        component = find_component(hub, name)
        probed = await hub.monitoring.check(name)
        result = {"ok": probed.ok, "reason": probed.reason, "latency_ms": _rounded(probed.latency_ms)}
        return _answer(hub, {**_summary(hub, component, hub.monitoring.targets.get(name)), "result": result})

    return router


def find_component(hub: CentralHubService, name: str) -> Component:
    """A component of the file. Raises NotFound."""
    component = hub.monitoring.infrastructure().components.get(name)
    if component is None:
        raise NotFound(f"there is no component {name} in infrastructure.yaml: GET /infrastructure/ lists them")
    return component


def _summary(hub: CentralHubService, component: Component, target: Target | None) -> dict[str, Any]:
    maintenance = hub.monitoring.maintenance(component.name)
    return {
        "name": component.name,
        "section": component.section,
        "type": component.type,
        "description": component.description,
        "labels": component.labels,
        "state": None if target is None else target.state,
        "since": None if target is None else rfc3339(target.since),
        "reason": "it is not probed" if target is None else target.reason,
        "latency_ms": None if target is None else _rounded(target.latency_ms),
        "probed_at": rfc3339(target.probed_at) if target is not None and target.probed_by else None,
        "maintenance": None if maintenance is None else _maintenance(maintenance),
    }


def _maintenance(maintenance: Maintenance) -> dict[str, Any]:
    return {
        "from": rfc3339(maintenance.begins_at),
        "until": rfc3339(maintenance.ends_at),
        "reason": maintenance.reason,
    }


def _probe(settings: ProbeSettings) -> dict[str, Any]:
    return {
        "kind": settings.kind,
        "interval_seconds": settings.interval_seconds,
        "timeout_seconds": settings.timeout_seconds,
        "failures": settings.failures,
        "successes": settings.successes,
        "options": settings.options,
    }


def _history(transitions: Sequence[Transition]) -> list[dict[str, Any]]:
    return [
        {"at": rfc3339(each.at), "from": each.from_state, "to": each.to_state, "reason": each.reason}
        for each in transitions
    ]


def _rounded(latency_ms: float | None) -> float | None:
    return None if latency_ms is None else round(latency_ms, 3)


def _answer(hub: CentralHubService, value: Any, *, is_stale: bool = False) -> Response:
    headers = {HUB_STALE: "true"} if is_stale or hub.monitoring.is_stale else None
    return Response(orjson.dumps(value), media_type="application/json", headers=headers)
