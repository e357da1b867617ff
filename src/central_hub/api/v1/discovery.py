"""The registry: instances register, send heartbeats, are listed, described anew and deregistered."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from central_hub.api.auth import authorise_instances, needs
from central_hub.api.body import JSON, Body, strict_body
from central_hub.api.instance_events import InstanceEvents
from central_hub.api.instances_watch import InstancesStream
from central_hub.api.v1.bodies import parse
from central_hub.api.v1.fleet import InstancePage, renewal
from central_hub.api.v1.instance_bodies import Heartbeat, Redescription, Registration
from central_hub.api.v1.openapi import PROBLEMS, request_body
from central_hub.api.v1.openapi_fleet import DESCRIBED, INSTANCES, INSTANCES_WATCH, REGISTERED, RENEWED, ROUTED
from central_hub.api.v1.queries import (
    DeregisterQuery,
    InstancesQuery,
    InstancesWatchQuery,
    NoQuery,
    RedescriptionQuery,
    RouteQuery,
    Runnable,
)
from central_hub.coordination.listing import described
from central_hub.coordination.manager import Model
from central_hub.errors import InvalidName, StoreUnavailable
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.instance_values import Description
from central_hub_client.wire import HUB_STALE, is_environment_name, is_instance_id

ServicePath = Annotated[Runnable, Path()]
InstancePath = Annotated[str, Path(json_schema_extra={"pattern": "^(?!route$)[A-Za-z0-9][A-Za-z0-9._:@+-]{0,199}$"})]
Reader = Annotated[Grant, Depends(needs(Verb.READ))]
Registrar = Annotated[Grant, Depends(needs(Verb.REGISTER))]
# A JSON Schema may have integers that no configuration may.
JsonBody = Annotated[Body, Depends(strict_body(JSON, bounded_integers=False))]


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/discovery`."""
    router = APIRouter(prefix="/discovery", tags=["fleet"], responses=PROBLEMS)
    told = InstanceEvents(hub.coordination)

    @router.post("/register", responses=REGISTERED, openapi_extra=request_body(Registration))
    async def register(grant: Registrar, body: JsonBody, _: Annotated[NoQuery, Query()], request: Request) -> Response:
        """Begin a new incarnation of an instance, and fence the one that had its name.

        The answer's `incarnation_secret` proves every later heartbeat; it is told this once. `schema_needed` asks for
        the schema of which only the hash was told: PUT it. 429 `rate_limited`: too many register at once, come again
        after `Retry-After`, which tells each another time.
        """
        asked = parse(Registration, body.value)
        authorise_instances(grant, asked.name, asked.environment)
        made = await hub.coordination.register(
            asked.name,
            asked.environment,
            asked.instance_id,
            Description(**asked.changes),
            asked.model,
            lease_seconds=asked.lease_seconds,
        )
        await _hear_of(hub, asked.model)
        return _json(
            {
                "instance_id": made.instance.instance_id,
                "generation": made.instance.generation,
                "incarnation_secret": made.secret,
                "lease_seconds": made.instance.lease_seconds,
                "schema_needed": made.schema_needed,
            },
        )

    @router.post("/heartbeat", responses=RENEWED, openapi_extra=request_body(Heartbeat))
    async def heartbeat(grant: Registrar, body: JsonBody, _: Annotated[NoQuery, Query()]) -> Response:
        """Renew an instance's lease, and tell what it runs. What is left out stays as it was told before.

        404: register again. 409: another process has taken over the name, so stop.
        """
        asked = parse(Heartbeat, body.value)
        authorise_instances(grant, asked.service, None)
        instance = await hub.coordination.prove(asked.claim, grant.covers)
        hub.coordination.beat(instance, asked.reported_state, asked.stance, asked.key_report)
        return _json(renewal(instance))

    @router.get("/", responses=INSTANCES)
    async def list_all(grant: Reader, query: Annotated[InstancesQuery, Query()]) -> Response:
        """The instances of every service that the token covers.

        `label.<name>=<value>` filters by a label, `metadata.<name>=<value>` by what it says of itself. Those that fell
        silent together with too many others stay as they were (`kept`). `X-Hub-Stale`: PostgreSQL is not reached, they
        are told of as they were then.
        """
        services = [service for service in hub.coordination.fleet.services if grant.covers_service(service)]
        return _listed(hub, grant, services, query)

    @router.get("/watch", responses=INSTANCES_WATCH)
    async def watch(grant: Reader, query: Annotated[InstancesWatchQuery, Query()]) -> Response:
        """Follow the instances of services: server-sent events with all of them first, and then every change.

        A bookmark ends what is told together. A change at this replica is told at once, one at another and a lease that
        runs out within two seconds.
        """
        for service in query.service:
            authorise_instances(grant, service, query.environment)
        stream = InstancesStream(hub, grant, frozenset(query.service), query.environment, told)
        stream.headers.update(_freshness(hub))
        return stream

    @router.get("/{service}", responses=INSTANCES)
    async def list_service(grant: Reader, service: ServicePath, query: Annotated[InstancesQuery, Query()]) -> Response:
        """The instances of a service.

        `label.<name>=<value>` filters by a label, `metadata.<name>=<value>` by what it says of itself. Those that fell
        silent together with too many others stay as they were (`kept`). `X-Hub-Stale`: PostgreSQL is not reached, they
        are told of as they were then.
        """
        authorise_instances(grant, service, query.environment)
        return _listed(hub, grant, [service], query)

    @router.get("/{service}/route", responses=ROUTED)
    async def route(grant: Reader, service: ServicePath, query: Annotated[RouteQuery, Query()]) -> Response:
        """One instance to call, by weight: a healthy one, or a degraded one where there is none; 503 `no_instance`
        where there is neither.

        `round_robin` takes turns, which each replica of the hub keeps for itself. `random` draws two, and names the one
        that was named less often. `consistent_hash` names the same instance for the same `key` as long as it can be
        called. `same_zone` takes turns within `zone`, and names one of another where nobody there can be called.
        `fallbacks` says in what the answer falls short.
        """
        authorise_instances(grant, service, query.environment)
        found = hub.coordination.route(service, query.environment, query.policy, key=query.key, zone=query.zone)
        answer = {
            "instance": described(found.member, hub.coordination.as_of),
            "policy": query.policy,
            "fallbacks": found.fallbacks,
        }
        return _json(answer, _freshness(hub))

    @router.put("/{service}/{instance_id}", responses=DESCRIBED, openapi_extra=request_body(Redescription))
    async def describe(
        grant: Registrar,
        service: ServicePath,
        instance_id: InstancePath,
        body: JsonBody,
        query: Annotated[RedescriptionQuery, Query()],
    ) -> Response:
        """Replace those parts of an instance's description that the body names; or drain it, or take that back.

        A drained instance is listed as `draining` and not routed to; it hears of it with its next heartbeat. 409
        `no_instance` where nobody else could be called.
        """
        asked = parse(Redescription, body.value)
        authorise_instances(grant, service, query.environment)
        instance = await hub.coordination.find((service, query.environment, _checked(instance_id)))
        made = await hub.coordination.describe(
            instance,
            asked.changes,
            asked.model,
            generation=asked.generation,
            order=asked.order(grant.name, force=query.force),
        )
        await _hear_of(hub, asked.model)
        shown = described(hub.coordination.member(made.instance), hub.coordination.as_of)
        return _json(shown | {"schema_needed": made.schema_needed})

    @router.delete("/{service}/{instance_id}", status_code=204)
    async def deregister(
        grant: Registrar,
        service: ServicePath,
        instance_id: InstancePath,
        query: Annotated[DeregisterQuery, Query()],
    ) -> Response:
        """End an instance; with `generation`, only that incarnation. One that still runs registers again."""
        authorise_instances(grant, service, query.environment)
        instance = await hub.coordination.find((service, query.environment, _checked(instance_id)))
        await hub.coordination.deregister(instance, generation=query.generation)
        return Response(status_code=204)

    return router


async def _hear_of(hub: CentralHubService, model: Model | None) -> None:
    """Let what an instance runs count for the next change. It is registered all the same where that must wait."""
    if model is not None:
        with suppress(StoreUnavailable):
            await hub.contracts.catch_up()


def _listed(hub: CentralHubService, grant: Grant, services: list[str], query: InstancesQuery) -> Response:
    if query.environment is not None and not is_environment_name(query.environment):
        raise InvalidName("an environment name has 1 to 40 characters a-z, 0-9 and -, not - at either end")
    page = InstancePage.of(hub.coordination.fleet, services, grant, query, hub.coordination.as_of)
    return _json(page.to_json(), _freshness(hub))


def _freshness(hub: CentralHubService) -> dict[str, str]:
    return {HUB_STALE: "true"} if hub.coordination.is_stale else {}


def _json(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), media_type="application/json", headers=headers)


def _checked(instance_id: str) -> str:
    if not is_instance_id(instance_id):
        raise InvalidName("an instance id has 1 to 200 characters a-z, A-Z, 0-9, . _ : @ + -")
    return instance_id
