"""Who runs which settings model, what would break it, and which of the models count."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from central_hub.api.auth import authorise_instances, needs
from central_hub.api.body import JSON, Body, strict_body
from central_hub.api.v1.bodies import Pin, Retire, parse
from central_hub.api.v1.instance_bodies import MAX_SCHEMA_BYTES
from central_hub.api.v1.openapi import PROBLEMS, request_body
from central_hub.api.v1.openapi_fleet import CONTRACTS
from central_hub.api.v1.queries import DocumentQuery, NoQuery, Runnable
from central_hub.api.v1.reading import answer_json, reach_minimum
from central_hub.audit.chain import rfc3339
from central_hub.config.layering import shared_keys
from central_hub.config.reach import View
from central_hub.config.standing import Standing
from central_hub.errors import InvalidRequest
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub_client.strict_json import canonical
from central_hub_client.wire import content_hash

ServicePath = Annotated[Runnable, Path()]
Reader = Annotated[Grant, Depends(needs(Verb.READ))]
Writer = Annotated[Grant, Depends(needs(Verb.WRITE))]
Forcer = Annotated[Grant, Depends(needs(Verb.FORCE))]
JsonBody = Annotated[Body, Depends(strict_body(JSON))]
# A JSON Schema may have integers that no configuration may.
SchemaBody = Annotated[Body, Depends(strict_body(JSON, bounded_integers=False))]


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/config/contracts`."""
    router = APIRouter(prefix="/config/contracts", tags=["configuration"], responses=PROBLEMS)

    async def answer(request: Request, service: str, environment: str) -> Response:
        applied = await reach_minimum(hub, request)
        place = (service, environment)
        view = View.of(hub.tail.snapshot)
        standings = [*await hub.contracts.standings(view, place), *hub.contracts.passed_over(place)]
        undeclared = {key for standing in standings if standing.present for key in standing.present.unknown}
        shared = shared_keys(view.layers(*place), undeclared)
        told = [_told(standing, shared) for standing in standings]
        return answer_json(hub, applied, {"service": service, "environment": environment, "contracts": told})

    @router.get("/{service}", responses=CONTRACTS)
    async def list_contracts(
        grant: Reader, service: ServicePath, query: Annotated[DocumentQuery, Query()], request: Request
    ) -> Response:
        """Who runs which settings model, whether a change is held against it, and what it refuses of the present."""
        authorise_instances(grant, service, query.environment)
        await hub.contracts.catch_up()
        return await answer(request, service, query.environment)

    @router.post("/{service}/pin", responses=CONTRACTS, openapi_extra=request_body(Pin))
    async def pin(
        grant: Writer, service: ServicePath, body: SchemaBody, _: Annotated[NoQuery, Query()], request: Request
    ) -> Response:
        """Let these builds count, and whatever runs, in the place of all that was seen. None: count what was seen."""
        asked = parse(Pin, body.value)
        authorise_instances(grant, service, asked.environment)
        schema = asked.json_schema
        if schema is not None:
            if len(asked.builds) != 1:
                raise InvalidRequest("a schema is that of one build: name one")
            content = canonical(schema)
            if len(content) > MAX_SCHEMA_BYTES:
                raise InvalidRequest(f"/schema: must not have more than {MAX_SCHEMA_BYTES // 1024} KiB")
            await hub.contracts.tell(
                service,
                asked.environment,
                asked.builds[0],
                schema_hash=content_hash(schema),
                content=content.decode(),
            )
        await hub.contracts.pin(service, asked.environment, asked.builds, grant.name)
        return await answer(request, service, asked.environment)

    @router.post("/{service}/retire", responses=CONTRACTS, openapi_extra=request_body(Retire))
    async def retire(
        grant: Forcer, service: ServicePath, body: JsonBody, _: Annotated[NoQuery, Query()], request: Request
    ) -> Response:
        """Let a build count no more, until an instance registers as it again."""
        asked = parse(Retire, body.value)
        authorise_instances(grant, service, asked.environment)
        await hub.contracts.retire(
            service, asked.environment, asked.build, schema_hash=asked.schema_hash, by=grant.name
        )
        return await answer(request, service, asked.environment)

    return router


def _told(standing: Standing, shared: frozenset[str]) -> dict[str, Any]:
    consumer, present = standing.consumer, standing.present
    return {
        "build": consumer.build,
        "schema": consumer.schema_hash,
        "first_seen": rfc3339(consumer.first_seen_at),
        "last_seen": rfc3339(consumer.last_seen_at),
        "instances": list(standing.instances),
        "counts": standing.reason.counts and present is not None and present.accepts,
        "because": standing.reason,
        "unusable": None if present is None else present.unusable,
        "errors": []
        if present is None
        else [
            {"pointer": violation.pointer, "keyword": violation.keyword, "message": violation.message}
            for violation in present.violations
        ],
        "undeclared_keys": [] if present is None else [key for key in present.unknown if key not in shared],
    }
