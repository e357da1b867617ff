"""How to reach databases and brokers, as infrastructure.yaml says it: shapes and references, never a credential."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Query, Response

from central_hub.api.auth import needs
from central_hub.api.v1.openapi import PROBLEMS, Responses, object_schema, ok
from central_hub.api.v1.queries import NoQuery
from central_hub.errors import NotFound
from central_hub.monitoring.infrastructure import Component, Section
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService

Reader = Annotated[Grant, Depends(needs(Verb.READ))]
Name = Annotated[str, Path(description="The name of the component.")]

_REFERENCE: Final = {
    "type": "object",
    "required": ["$secret"],
    "properties": {"$secret": {"type": "string", "pattern": "^(env|file)://"}},
    "description": "Where the credential is; the hub does not tell it.",
}
_TEXT: Final = {"type": "string"}
_COMPONENT: Final = object_schema(
    "name type description connection labels",
    {
        "name": _TEXT,
        "type": _TEXT,
        "description": _TEXT,
        "connection": {
            "type": "object",
            "properties": {
                "host": _TEXT,
                "port": {"type": "integer"},
                "url": _TEXT,
                "brokers": {"type": "array", "items": _TEXT},
                "database": _TEXT,
                "user": _TEXT,
                "password": _REFERENCE,
                "token": _REFERENCE,
                "nkey": _REFERENCE,
                "options": {"type": "object"},
            },
        },
        "labels": {"type": "object", "additionalProperties": _TEXT},
    },
)
_ONE: Final[Responses] = {200: ok("The connection.", _COMPONENT)}
_ALL: Final[Responses] = {
    200: ok(
        "All databases, by name.",
        object_schema("databases", {"databases": {"type": "array", "items": _COMPONENT}}),
    )
}


def routes(hub: CentralHubService) -> APIRouter:
    """Routes under `/config` that name components and not services."""
    router = APIRouter(prefix="/config", tags=["infrastructure"], responses=PROBLEMS)

    @router.get("/databases/all", responses=_ALL)
    async def all_databases(_grant: Reader, _: Annotated[NoQuery, Query()]) -> Response:
        """How to connect to every database of infrastructure.yaml."""
        return _json({"databases": [_shape(component) for component in _in(hub, Section.DATABASES)]})

    @router.get("/database/{name}", responses=_ONE)
    async def one_database(_grant: Reader, name: Name, _: Annotated[NoQuery, Query()]) -> Response:
        """How to connect to a database: for each credential there is a reference, never its value."""
        return _json(_shape(_find(hub, Section.DATABASES, name)))

    @router.get("/messaging/{name}", responses=_ONE)
    async def one_broker(_grant: Reader, name: Name, _: Annotated[NoQuery, Query()]) -> Response:
        """How to connect to a broker: for each credential there is a reference, never its value."""
        return _json(_shape(_find(hub, Section.MESSAGING, name)))

    return router


def _in(hub: CentralHubService, section: Section) -> Iterator[Component]:
    if not hub.infrastructure.is_there:
        raise NotFound("this hub knows of no infrastructure: CENTRAL_HUB_INFRASTRUCTURE_FILE is not set")
    for _, component in sorted(hub.infrastructure.current.components.items()):
        if component.section is section:
            yield component


def _find(hub: CentralHubService, section: Section, name: str) -> Component:
    for component in _in(hub, section):
        if component.name == name:
            return component
    raise NotFound(f"there is no component of this name under `{section}` of infrastructure.yaml")


def _shape(component: Component) -> dict[str, Any]:
    return {
        "name": component.name,
        "type": component.type,
        "description": component.description,
        "connection": component.connection,
        "labels": component.labels,
    }


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
