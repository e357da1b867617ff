"""How the hub is: health, metrics, signing keys, and the audit chain for those who verify it."""

import base64
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST

from central_hub.api.auth import needs
from central_hub.api.v1.openapi import PROBLEMS
from central_hub.api.v1.queries import AuditQuery, NoQuery
from central_hub.audit.chain import Record
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub_client.wire import HealthState

Admin = Annotated[Grant, Depends(needs(Verb.ADMIN))]
Reader = Annotated[Grant, Depends(needs(Verb.READ))]


def health_routes(hub: CentralHubService) -> APIRouter:
    """Health and metrics: these answer at the root as well as under the prefix."""
    router = APIRouter(tags=["operations"], responses=PROBLEMS)

    @router.get("/health/live")
    async def live() -> Response:
        """Whether the process answers. Needs no token."""
        return _json({"state": "live"})

    @router.get("/health/ready", responses={503: {"description": "Starting or draining."}})
    async def ready() -> Response:
        """Whether this replica serves reads, be they stale. Needs no token."""
        health = hub.health()
        if health.state in (HealthState.STARTING, HealthState.DRAINING):
            return _json({"state": health.state, "reasons": health.reasons}, 503)
        return _json({"state": "ready"})

    @router.get("/health")
    async def health(_grant: Reader, _: Annotated[NoQuery, Query()]) -> Response:
        """How everything is, with reasons."""
        return _json(hub.health_report())

    @router.get("/metrics", response_class=Response)
    async def metrics(_grant: Reader, _: Annotated[NoQuery, Query()]) -> Response:
        """Prometheus metrics."""
        return Response(hub.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return router


def routes(hub: CentralHubService) -> APIRouter:
    """Signing keys and the audit chain."""
    router = APIRouter(tags=["operations"], responses=PROBLEMS)

    @router.get("/keys")
    async def keys(_grant: Reader, _: Annotated[NoQuery, Query()]) -> Response:
        """The public keys of all live replicas."""
        return _json(
            {
                "keys": [
                    {"id": key.id, "algorithm": "ed25519", "public_key": base64.b64encode(key.public_key).decode()}
                    for key in await hub.presence.live_keys()
                ]
            }
        )

    @router.get("/audit")
    async def audit(_grant: Admin, query: Annotated[AuditQuery, Query()]) -> Response:
        """The audit chain, in order, with contents and salts: all that is needed to verify it elsewhere."""
        revision, _, ordinal = query.after.partition(".")
        page = await hub.audit.page(
            after=(int(revision), int(ordinal) if ordinal else _ALL_ORDINALS), limit=query.limit
        )
        last = None if page.is_last else page.records[-1].entry
        return _json(
            {
                "entries": [_entry(record) for record in page.records],
                "next": None if last is None else f"{last.revision}.{last.ordinal}",
                "head": {"epoch": page.head.epoch, "revision": page.head.revision, "hash": page.head.audit_head},
                "differing_documents": [{"service": name, "environment": place} for name, place in page.differing],
            }
        )

    return router


_ALL_ORDINALS = 2**31 - 1


def _entry(record: Record) -> dict[str, Any]:
    return {
        **record.entry.facts(),
        "entry_hash": record.entry_hash,
        "salt": None if record.salt is None else base64.b64encode(record.salt).decode(),
        "content": record.content,
        "redacted": record.redacted,
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
