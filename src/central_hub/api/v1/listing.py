"""What there is: documents and schemas, for whoever carries them elsewhere."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from central_hub.api.auth import check_environment, check_service, needs
from central_hub.api.v1.openapi import LISTING, PROBLEMS
from central_hub.api.v1.queries import ExportQuery
from central_hub.api.v1.reading import answer_json, reach_minimum
from central_hub.audit.chain import rfc3339
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.config_values import Listed

Reader = Annotated[Grant, Depends(needs(Verb.READ))]


def routes(hub: CentralHubService) -> APIRouter:
    """The route `/config/export`."""
    router = APIRouter(prefix="/config", tags=["configuration"], responses=PROBLEMS)

    @router.get("/export", responses=LISTING)
    async def export(grant: Reader, query: Annotated[ExportQuery, Query()], request: Request) -> Response:
        """Documents and schemas that there are, of those that the token covers, page by page.

        Pages that name the same revision are of one moment.
        """
        for service in query.service:
            check_service(service)
        for environment in query.environment:
            check_environment(environment)
        applied = await reach_minimum(hub, request)
        page = await hub.listing.page(
            services=query.service or None,
            environments=query.environment or None,
            after=query.after,
            with_content=query.include == "config",
        )
        entries = [_entry(entry) for entry in page.entries if grant.covers(entry.service, entry.environment)]
        told = {"epoch": page.head.epoch, "revision": page.head.revision, "entries": entries, "next": page.next}
        return answer_json(hub, applied, told)

    return router


def _entry(entry: Listed) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "service": entry.service,
        "environment": entry.environment,
        "version": entry.version,
        "revision": entry.revision,
        "updated_at": rfc3339(entry.changed_at),
        "updated_by": entry.changed_by,
        "managed_by": entry.managed_by,
        **({} if entry.config is None else {"config": entry.config}),
    }
