"""The JSON Schemas that effective configs are held against."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from central_hub.api.auth import authorise, needs
from central_hub.api.body import JSON, SCHEMA_JSON, Body, strict_body
from central_hub.api.conditions import is_unchanged
from central_hub.api.v1.openapi import OUTCOME, PROBLEMS, SCHEMA, schema_body
from central_hub.api.v1.queries import DeleteQuery, DocumentQuery, SchemaQuery, Service
from central_hub.api.v1.reading import reach_minimum, read_headers
from central_hub.api.v1.writing import Asked, answer_write, json_object
from central_hub.config.edits import Delete, Replace
from central_hub.config.snapshot import own_representation
from central_hub.errors import NotFound
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.config_values import Kind, to_text

ServicePath = Annotated[Service, Path()]
Reader = Annotated[Grant, Depends(needs(Verb.READ))]
Writer = Annotated[Grant, Depends(needs(Verb.WRITE))]
# A schema may speak of integers that no document can hold.
SchemaBody = Annotated[Body, Depends(strict_body(JSON, SCHEMA_JSON, bounded_integers=False))]


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/config/schema`."""
    router = APIRouter(prefix="/config/schema", tags=["configuration"], responses=PROBLEMS)

    @router.get("/{service}", responses=SCHEMA)
    async def get_schema(
        grant: Reader, service: ServicePath, query: Annotated[DocumentQuery, Query()], request: Request
    ) -> Response:
        """The schema that the config of a service must satisfy: its environment's own, or that of `default`."""
        authorise(grant, service, query.environment)
        applied = await reach_minimum(hub, request)
        snapshot = hub.tail.snapshot
        found = snapshot.schema(service, query.environment)
        if found is None:
            raise NotFound(f"there is no schema of {service} in environment {query.environment}")
        headers = read_headers(hub, applied, own_representation(found, snapshot.hub_id, snapshot.epoch).etag)
        if is_unchanged(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(to_text(found.config), media_type=SCHEMA_JSON, headers=headers)

    @router.put("/{service}", responses=OUTCOME, openapi_extra=schema_body())
    async def put_schema(
        grant: Writer,
        service: ServicePath,
        body: SchemaBody,
        query: Annotated[SchemaQuery, Query()],
        request: Request,
    ) -> Response:
        """Hold the config of a service against a schema from now on. Refused where the present config breaks it."""
        asked = Asked(
            service=service,
            environment=query.environment,
            edit=Replace(json_object(body.value)),
            body=body.raw,
            reason=query.reason,
            dry_run=query.dry_run,
            kind=Kind.SCHEMA,
        )
        return await answer_write(hub, request, grant, asked)

    @router.delete("/{service}", responses=OUTCOME)
    async def delete_schema(
        grant: Writer, service: ServicePath, query: Annotated[DeleteQuery, Query()], request: Request
    ) -> Response:
        """Withdraw the schema of an environment; its history stays."""
        asked = Asked(
            service=service, environment=query.environment, edit=Delete(), reason=query.reason, kind=Kind.SCHEMA
        )
        return await answer_write(hub, request, grant, asked)

    return router
