"""Tokens: made, listed, revoked. For administrators."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Response

from central_hub.api.auth import needs
from central_hub.api.body import JSON, Body, strict_body
from central_hub.api.v1.bodies import NewToken, parse
from central_hub.api.v1.openapi import PROBLEMS, request_body
from central_hub.api.v1.queries import NoQuery
from central_hub.audit.chain import rfc3339
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.tokens import TokenRow

Admin = Annotated[Grant, Depends(needs(Verb.ADMIN))]


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/tokens`."""
    router = APIRouter(prefix="/tokens", tags=["tokens"], responses=PROBLEMS)

    @router.post("", status_code=201, openapi_extra=request_body(NewToken))
    async def create(
        grant: Admin, body: Annotated[Body, Depends(strict_body(JSON))], _: Annotated[NoQuery, Query()]
    ) -> Response:
        """Make a token. It is shown in this answer and never again."""
        asked = parse(NewToken, body.value)
        token, row = await hub.tokens.create(
            asked.name,
            frozenset(asked.verbs),
            tuple(asked.services),
            tuple(asked.environments),
            expires_at=asked.expires_at,
            created_by=grant.name,
        )
        return Response(
            orjson.dumps({"id": row.id, "token": token, **_described(row)}), 201, media_type="application/json"
        )

    @router.get("")
    async def listed(_grant: Admin, _: Annotated[NoQuery, Query()]) -> Response:
        """The tokens that were not revoked, the expired ones too, without the tokens themselves."""
        rows = await hub.tokens.listed()
        return Response(orjson.dumps({"tokens": [_described(row) for row in rows]}), media_type="application/json")

    @router.delete("/{token_id}", status_code=204)
    async def revoke(grant: Admin, token_id: str, _: Annotated[NoQuery, Query()]) -> Response:
        """End a token: within two seconds it opens nothing any more, and open streams end."""
        await hub.tokens.revoke(token_id, by=grant.name)
        return Response(status_code=204)

    return router


def _described(row: TokenRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "verbs": list(row.verbs),
        "services": list(row.services),
        "environments": list(row.environments),
        "created_at": rfc3339(row.created_at),
        "created_by": row.created_by,
        "expires_at": None if row.expires_at is None else rfc3339(row.expires_at),
    }
