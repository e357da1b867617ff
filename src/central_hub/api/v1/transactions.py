"""Several documents and schemas as one revision: changed together, and taken back together."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from central_hub.api.auth import needs
from central_hub.api.body import JSON, Body, strict_body
from central_hub.api.v1.bodies import Deletion, NamedUpdate, SchemaUpdate, TransactionBody, WholeRollback, parse
from central_hub.api.v1.openapi import PROBLEMS, TRANSACTION, request_body
from central_hub.api.v1.queries import NoQuery
from central_hub.api.v1.writing import Asked, answer_transaction, permitted
from central_hub.config.edits import Delete, Edit, Merge, Replace, Restore
from central_hub.errors import Finding, Forbidden, InvalidRequest, MalformedBody
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.config_values import Key, Kind
from central_hub_client import strict_json

Writer = Annotated[Grant, Depends(needs(Verb.WRITE))]
JsonBody = Annotated[Body, Depends(strict_body(JSON))]
# A schema may speak of integers that no document can hold.
TransactionJson = Annotated[Body, Depends(strict_body(JSON, bounded_integers=False))]


def routes(hub: CentralHubService) -> APIRouter:
    """The routes under `/config` that change several documents at once."""
    router = APIRouter(prefix="/config", tags=["configuration"], responses=PROBLEMS)

    @router.post("/transaction", responses=TRANSACTION, openapi_extra=request_body(TransactionBody))
    async def transact(
        grant: Writer, body: TransactionJson, _: Annotated[NoQuery, Query()], request: Request
    ) -> Response:
        """Change several documents and schemas as one revision, or none of them.

        Every config that they lead to together is held against its schema.
        """
        transaction = parse(TransactionBody, body.value)
        asked = [_asked(update, transaction.reason) for update in transaction.updates]
        _refuse_two_of_one([(one.kind, one.service, one.environment) for one in asked])
        return await answer_transaction(
            hub,
            request,
            grant,
            asked,
            body=body.raw,
            dry_run=transaction.is_dry_run,
            managed_by=transaction.managed_by,
        )

    @router.post("/rollback", responses=TRANSACTION, openapi_extra=request_body(WholeRollback))
    async def roll_back_revision(
        grant: Writer, body: JsonBody, _: Annotated[NoQuery, Query()], request: Request
    ) -> Response:
        """Take back a whole revision: all that it changed becomes what it was before it, as one new revision.

        Refused where any of it has been changed since.
        """
        rollback = parse(WholeRollback, body.value)
        # Asked here, because a rollback has a reason by itself.
        allow = permitted(grant, rollback.allow, rollback.reason)
        position, changed = await hub.history.changed_by(rollback.revision)
        if not all(grant.covers(service, environment) for _, service, environment in changed):
            raise Forbidden(f"this token does not cover all that revision {position} changed")
        asked = [
            Asked(
                service=one.service,
                environment=one.environment,
                edit=Delete() if one.config is None else Restore(one.config),
                reason=rollback.reason or f"take back revision {position}",
                allow=allow,
                # What has been read is what is taken back: a change that comes between is not lost.
                expected_revision=one.present_revision,
                kind=one.kind,
                takes_back=True,
            )
            for one in await hub.history.before(position, changed)
        ]
        return await answer_transaction(hub, request, grant, asked, body=body.raw, dry_run=rollback.dry_run)

    return router


def _asked(update: NamedUpdate | SchemaUpdate | Deletion, reason: str | None) -> Asked:
    edit: Edit
    kind = Kind.DOCUMENT
    match update:
        case NamedUpdate():
            try:
                strict_json.check_integers(update.config)
            except strict_json.MalformedJson as error:
                raise MalformedBody(str(error)) from error
            edit = Merge(update.config) if update.mode == "merge" else Replace(update.config, guards_removals=True)
        case SchemaUpdate():
            edit, kind = Replace(update.json_schema), Kind.SCHEMA
        case Deletion():
            edit, kind = Delete(), Kind(update.delete)
    return Asked(
        service=update.service,
        environment=update.environment,
        edit=edit,
        version=update.version if isinstance(update, NamedUpdate) else None,
        reason=reason if update.reason is None else update.reason,
        allow=frozenset(update.allow) if isinstance(update, NamedUpdate) else frozenset(),
        expected_revision=update.expected_revision,
        must_name_what_it_replaces=isinstance(update, Deletion) and kind is Kind.DOCUMENT,
        kind=kind,
    )


def _refuse_two_of_one(keys: list[Key]) -> None:
    for index, (kind, service, environment) in enumerate(keys):
        if (kind, service, environment) in keys[:index]:
            raise InvalidRequest(
                f"the {kind} of {service} in environment {environment} is changed twice: say at once what it shall be",
                errors=[Finding(f"/updates/{index}", "invalid_request", "is changed by an earlier update already")],
            )
