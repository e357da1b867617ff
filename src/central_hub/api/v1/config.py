"""Documents: read, written, watched, and what they were."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from central_hub.api.auth import authorise, needs
from central_hub.api.body import JSON, JSON_PATCH, MERGE_PATCH, Body, strict_body
from central_hub.api.v1.bodies import NamedUpdate, Rollback, Update, parse
from central_hub.api.v1.openapi import CONFIG, DIFF, HISTORY, OUTCOME, PROBLEMS, SEARCH, WATCH, request_body
from central_hub.api.v1.openapi_fleet import STATUS
from central_hub.api.v1.queries import (
    DeleteQuery,
    DiffQuery,
    HistoryQuery,
    NoQuery,
    ReadQuery,
    Runnable,
    SearchQuery,
    Service,
    WatchQuery,
    WriteQuery,
)
from central_hub.api.v1.reading import answer_json, history_entry, parse_position, reach, reach_minimum, read_config
from central_hub.api.v1.searching import answer_search
from central_hub.api.v1.status import StatusQuery, answer_status
from central_hub.api.v1.writing import Asked, answer_write, json_object, permitted
from central_hub.api.watch import WatchStream
from central_hub.config import diff
from central_hub.config.edits import Delete, Edit, JsonPatch, Merge, MergePatch, Replace, Restore, check_operations
from central_hub.errors import EpochChanged, InvalidRequest
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub_client.wire import GLOBAL

ServicePath = Annotated[Service, Path()]
RunnablePath = Annotated[Runnable, Path()]
Reader = Annotated[Grant, Depends(needs(Verb.READ))]
Writer = Annotated[Grant, Depends(needs(Verb.WRITE))]
JsonBody = Annotated[Body, Depends(strict_body(JSON))]
PatchBody = Annotated[Body, Depends(strict_body(MERGE_PATCH, JSON_PATCH))]


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/config`."""
    router = APIRouter(prefix="/config", tags=["configuration"], responses=PROBLEMS)

    @router.get("/watch", responses=WATCH)
    async def watch(grant: Reader, query: Annotated[WatchQuery, Query()], request: Request) -> Response:
        """Follow services: server-sent events with the current state, every change, and bookmarks."""
        for service in query.service:
            authorise(grant, service, query.environment)
        after = request.headers.get("last-event-id") or query.after
        position = None if after is None else parse_position(hub, after)
        if position is not None:
            if position.epoch != hub.tail.snapshot.epoch:
                raise EpochChanged(
                    f"{position} belongs to another epoch: forget it and watch from the beginning",
                    extra={"epoch": hub.tail.snapshot.epoch},
                )
            await reach(hub, position)
        return WatchStream(hub, grant, frozenset(query.service), query.environment, position)

    @router.get("/history", responses=SEARCH)
    async def search(grant: Reader, query: Annotated[SearchQuery, Query()], request: Request) -> Response:
        """What happened to any document, newest first: by whom, when, why, and to which values."""
        return await answer_search(hub, request, grant, query)

    @router.get("/history/{service}", responses=HISTORY)
    async def history(
        grant: Reader, service: ServicePath, query: Annotated[HistoryQuery, Query()], request: Request
    ) -> Response:
        """What happened to a document, newest first."""
        authorise(grant, service, query.environment)
        applied = await reach_minimum(hub, request)
        entries, following = await hub.history.page(service, query.environment, before=query.before, limit=query.limit)
        return answer_json(
            hub,
            applied,
            {
                "service": service,
                "environment": query.environment,
                "history": [history_entry(entry, with_config=query.include == "config") for entry in entries],
                "next": following,
            },
        )

    @router.get("/diff/{service}", responses=DIFF)
    async def compare(
        grant: Reader, service: ServicePath, query: Annotated[DiffQuery, Query()], request: Request
    ) -> Response:
        """What differs between two revisions of a document."""
        authorise(grant, service, query.environment)
        applied = await reach_minimum(hub, request)
        found = await hub.history.compare(service, query.environment, old=query.from_, new=query.to)
        return answer_json(
            hub,
            applied,
            {
                "service": service,
                "environment": query.environment,
                "from": None if found.old is None else found.old.revision,
                "to": found.new.revision,
                "changes": found.changes,
                "patch": diff.patch(found.changes),
            },
        )

    @router.get("/status/{service}", responses=STATUS)
    async def status(
        grant: Reader, service: RunnablePath, query: Annotated[StatusQuery, Query()], request: Request
    ) -> Response:
        """Who runs a revision, who refused it and why, who hides it behind settings of its own."""
        return await answer_status(hub, request, grant, service, query)

    @router.post("/update", responses=OUTCOME, openapi_extra=request_body(NamedUpdate))
    async def update_named(grant: Writer, body: JsonBody, _: Annotated[NoQuery, Query()], request: Request) -> Response:
        """Replace or merge a document, named in the body."""
        update = parse(NamedUpdate, body.value)
        return await answer_write(hub, request, grant, _from_update(update.service, update, body))

    @router.post("/validate/{service}", responses=OUTCOME, openapi_extra=request_body(Update))
    async def validate(
        grant: Writer, service: ServicePath, body: JsonBody, _: Annotated[NoQuery, Query()], request: Request
    ) -> Response:
        """What an update would be answered, with all that its schemas find wrong; nothing is stored."""
        asked = _from_update(service, parse(Update, body.value), body)
        return await answer_write(hub, request, grant, replace(asked, dry_run=True))

    @router.post("/rollback/{service}", responses=OUTCOME, openapi_extra=request_body(Rollback))
    async def roll_back(
        grant: Writer, service: ServicePath, body: JsonBody, _: Annotated[NoQuery, Query()], request: Request
    ) -> Response:
        """Make a document what it was at an earlier revision, as a new revision."""
        rollback = parse(Rollback, body.value)
        authorise(grant, service, rollback.environment)
        content = await hub.history.content_at(service, rollback.environment, rollback.revision)
        asked = Asked(
            service=service,
            environment=rollback.environment,
            edit=Restore(content),
            body=body.raw,
            reason=rollback.reason or f"roll back to revision {rollback.revision}",
            # Asked here, because a rollback has a reason by itself.
            allow=permitted(grant, rollback.allow, rollback.reason),
            expected_revision=rollback.expected_revision,
        )
        return await answer_write(hub, request, grant, asked)

    @router.get("/", responses=CONFIG)
    async def get_global(grant: Reader, query: Annotated[ReadQuery, Query()], request: Request) -> Response:
        """The global document, which lies under every service."""
        return await read_config(hub, request, grant, GLOBAL, query)

    @router.get("/{service}", responses=CONFIG)
    async def get_config(
        grant: Reader, service: ServicePath, query: Annotated[ReadQuery, Query()], request: Request
    ) -> Response:
        """The effective config of a service, or its own document."""
        return await read_config(hub, request, grant, service, query)

    @router.post("/{service}", responses=OUTCOME, openapi_extra=request_body(Update))
    async def update(
        grant: Writer, service: ServicePath, body: JsonBody, _: Annotated[NoQuery, Query()], request: Request
    ) -> Response:
        """Replace or merge the document of a service."""
        return await answer_write(hub, request, grant, _from_update(service, parse(Update, body.value), body))

    @router.put("/{service}", responses=OUTCOME, openapi_extra=request_body(None))
    async def put(
        grant: Writer, service: ServicePath, body: JsonBody, query: Annotated[WriteQuery, Query()], request: Request
    ) -> Response:
        """Make the body the document."""
        config = json_object(body.value)
        if "service" in config and "config" in config:
            raise InvalidRequest(
                "the body looks like an update ({service, config, …}), but PUT takes the document itself: POST it to"
                " /config/update"
            )
        return await answer_write(
            hub, request, grant, _from_query(service, Replace(config), query, body, replaces=True)
        )

    @router.patch("/{service}", responses=OUTCOME, openapi_extra=request_body(None, MERGE_PATCH, JSON_PATCH))
    async def patch(
        grant: Writer, service: ServicePath, body: PatchBody, query: Annotated[WriteQuery, Query()], request: Request
    ) -> Response:
        """Change parts of a document: a merge patch (RFC 7396) or a JSON patch (RFC 6902)."""
        edit: Edit
        if body.media_type == MERGE_PATCH:
            edit = MergePatch(json_object(body.value))
        else:
            check_operations(body.value)
            edit = JsonPatch(body.value)
        return await answer_write(hub, request, grant, _from_query(service, edit, query, body))

    @router.delete("/{service}", responses=OUTCOME)
    async def delete(
        grant: Writer, service: ServicePath, query: Annotated[DeleteQuery, Query()], request: Request
    ) -> Response:
        """End a document; its history stays."""
        asked = Asked(
            service=service,
            environment=query.environment,
            edit=Delete(),
            reason=query.reason,
            must_name_what_it_replaces=True,
        )
        return await answer_write(hub, request, grant, asked)

    return router


def _from_update(service: str, update: Update, body: Body) -> Asked:
    return Asked(
        service=service,
        environment=update.environment,
        edit=Merge(update.config) if update.mode == "merge" else Replace(update.config, guards_removals=True),
        body=body.raw,
        version=update.version,
        reason=update.reason,
        allow=frozenset(update.allow),
        expected_revision=update.expected_revision,
        dry_run=update.dry_run,
    )


def _from_query(service: str, edit: Edit, query: WriteQuery, body: Body, *, replaces: bool = False) -> Asked:
    return Asked(
        service=service,
        environment=query.environment,
        edit=edit,
        body=body.raw,
        version=query.version,
        reason=query.reason,
        allow=frozenset(query.allow),
        must_name_what_it_replaces=replaces,
        dry_run=query.dry_run,
    )
