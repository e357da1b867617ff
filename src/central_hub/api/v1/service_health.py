"""How the services are, rolled up from their instances and from what they depend on."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Response

from central_hub.api.auth import authorise_instances, check_environment, needs
from central_hub.api.v1.openapi import PROBLEMS
from central_hub.api.v1.openapi_fleet import SERVICE_HEALTH, SERVICES_HEALTH
from central_hub.api.v1.queries import HealthQuery, Runnable
from central_hub.api.v1.scene import answer
from central_hub.audit.chain import rfc3339
from central_hub.coordination.fleet import Member, Place
from central_hub.coordination.instance_health import reason_of
from central_hub.coordination.listing import checked
from central_hub.errors import NotFound
from central_hub.monitoring.situation import Situation
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.situations import health_of, situation_of

ServicePath = Annotated[Runnable, Path()]
Reader = Annotated[Grant, Depends(needs(Verb.READ))]

_AT_ONCE: Final = 50


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/health/services`. Unlike the hub's own health they do not answer at the root."""
    router = APIRouter(prefix="/health/services", tags=["fleet"], responses=PROBLEMS)

    @router.get("", responses=SERVICES_HEALTH)
    async def list_services(grant: Reader, query: Annotated[HealthQuery, Query()]) -> Response:
        """How every service that the token covers is, in each environment, and why.

        `callable` counts the instances that calls may be routed to. `dependencies` tells how that is which
        `infrastructure.yaml` says that it depends on. `latency` is that of the answers of their health endpoints in the
        last minutes, as percentiles that are right within 2 %. `X-Hub-Stale`: PostgreSQL is not reached, they are told
        of as they were then.
        """
        if query.environment is not None:
            check_environment(query.environment)
        services = [service for service in hub.coordination.fleet.services if grant.covers_service(service)]
        situation = situation_of(hub.monitoring.infrastructure(), hub.monitoring.targets, services)
        page: list[dict[str, Any]] = []
        upcoming = None
        for number, found in enumerate(_places(hub, grant, services, query)):
            if len(page) == query.limit:
                upcoming = _cursor(page[-1]["service"], page[-1]["environment"])
                break
            page.append({"service": found.place[0], **_summary(hub, found, situation)})
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)  # a thousand take a while: others go on in between
        return answer(hub, {"services": page, "next": upcoming})

    @router.get("/{service}", responses=SERVICE_HEALTH)
    async def one_service(grant: Reader, service: ServicePath, query: Annotated[HealthQuery, Query()]) -> Response:
        """How a service is in each environment that the token covers, and its instances, each with its reason.

        404 where none of its instances is spoken of.
        """
        authorise_instances(grant, service, query.environment)
        everywhere = query.model_copy(update={"after": None})
        if not (found := list(_places(hub, grant, [service], everywhere))):
            await hub.coordination.catch_up()  # it may just have registered at another replica
            found = list(_places(hub, grant, [service], everywhere))
        if not found:
            raise NotFound(f"there is no instance of {service}")
        situation = situation_of(hub.monitoring.infrastructure(), hub.monitoring.targets, [service])
        after = tuple((query.after or "").split("/"))
        members = [member for each in found for member in each.members if member.instance.key[1:] > after]
        page = members[: query.limit]
        return answer(
            hub,
            {
                "service": service,
                "environments": [_summary(hub, each, situation) for each in found],
                "instances": [_instance(member, hub.coordination.as_of) for member in page],
                "next": _cursor(*page[-1].instance.key[1:]) if len(members) > len(page) else None,
            },
        )

    return router


@dataclass(frozen=True, slots=True)
class _Found:
    place: Place
    members: tuple[Member, ...]


def _places(hub: CentralHubService, grant: Grant, services: Sequence[str], query: HealthQuery) -> Iterator[_Found]:
    """The services in their environments, in order, after `query.after`."""
    after = tuple((query.after or "").split("/"))
    for service in services:
        if service < after[0]:
            continue
        members = hub.coordination.fleet.members(service, hub.coordination.as_of)
        for place, there in groupby(members, key=lambda member: member.instance.key[:2]):
            if place > after and query.environment in (None, place[1]) and grant.covers(*place):
                yield _Found(place, tuple(there))


def _summary(hub: CentralHubService, there: _Found, situation: Situation) -> dict[str, Any]:
    health = health_of(there.place[0], there.members, situation)
    latencies = hub.checks.latencies.of_service(there.place, hub.coordination.clock())
    return {
        "environment": there.place[1],
        "state": health.state,
        "reason": health.reason,
        "counts": {str(state): count for state, count in health.counts.items()},
        "callable": health.callable,
        "latency": {
            f"{minutes}m": {
                "samples": found.samples,
                "p50_ms": _rounded(found.p50),
                "p95_ms": _rounded(found.p95),
                "p99_ms": _rounded(found.p99),
            }
            for minutes, found in latencies.items()
        },
        "dependencies": [
            {"name": each.name, "need": each.need, "state": each.state, "reason": each.reason}
            for each in situation.dependencies_of(there.place[0])
        ],
    }


def _instance(member: Member, now: datetime) -> dict[str, Any]:
    instance = member.instance
    return {
        "environment": instance.environment,
        "instance_id": instance.instance_id,
        "state": member.state,
        "reason": reason_of(member),
        "last_seen": rfc3339(instance.seen_at),
        "check": checked(instance, now),
    }


def _rounded(latency_ms: float | None) -> float | None:
    return None if latency_ms is None else round(latency_ms, 3)


def _cursor(*names: str) -> str:
    return "/".join(names)
