"""From a request to a write, and from its outcome to an answer."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from fastapi import Request, Response

from central_hub.api.auth import authorise, authorise_all
from central_hub.api.conditions import parse_tags
from central_hub.api.encoding import encode
from central_hub.api.v1.reading import parse_position
from central_hub.api.v1.scope import refusal_for, warnings_for
from central_hub.config.edits import Edit
from central_hub.config.effect import effect_of
from central_hub.config.outcome import Outcome
from central_hub.config.plan import CONTRACT, Preconditions, Retry, Transaction, Write
from central_hub.config.secret_check import OVERRIDE
from central_hub.errors import Forbidden, HubError, InvalidRequest, Warned
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.config_values import Kind
from central_hub_client.wire import HUB_REVISION

_MAX_KEY_CHARACTERS: Final = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a route has understood of a write; the rest stands in headers that all writes share."""

    service: str
    environment: str
    edit: Edit
    body: bytes = b""
    version: str | None = None
    reason: str | None = None
    allow: frozenset[str] = frozenset()
    expected_revision: str | None = None
    must_name_what_it_replaces: bool = False
    dry_run: bool = False
    kind: Kind = Kind.DOCUMENT
    takes_back: bool = False


async def answer_write(hub: CentralHubService, request: Request, grant: Grant, asked: Asked) -> Response:
    """Carry out a write and say what came of it. Raises the HubError of the first rule that it breaks."""
    asked = _permitted(grant, asked)
    authorise(grant, asked.service, asked.environment)
    transaction = Transaction(
        (_write(hub, asked, _preconditions(hub, request, asked)),),
        author=grant.name,
        retry=_retry(request, grant, asked.body),
        dry_run=asked.dry_run,
        size_bytes=len(asked.body),
    )
    return await _answer(hub, grant, transaction)


async def answer_transaction(
    hub: CentralHubService,
    request: Request,
    grant: Grant,
    asked: Sequence[Asked],
    *,
    body: bytes,
    dry_run: bool,
    managed_by: str | None = None,
) -> Response:
    """Carry out several writes as one revision, or none of them, and say what came of each."""
    asked = [_permitted(grant, one) for one in asked]
    authorise_all(grant, [(one.service, one.environment) for one in asked])
    if any(name in request.headers for name in ("if-match", "if-none-match")):
        raise InvalidRequest("a condition in the header speaks of one document: give each update expected_revision")
    transaction = Transaction(
        tuple(_write(hub, one, _named_preconditions(hub, one)) for one in asked),
        author=grant.name,
        retry=_retry(request, grant, body),
        dry_run=dry_run,
        size_bytes=len(body),
        managed_by=managed_by,
        is_single=False,
    )
    return await _answer(hub, grant, transaction)


async def _answer(hub: CentralHubService, grant: Grant, transaction: Transaction) -> Response:
    try:
        outcome = await hub.store.write(transaction)
    except HubError as error:
        hub.metrics.writes.labels(str(error.code)).inc()
        raise refusal_for(grant.covers, error) from error
    hub.metrics.writes.labels(outcome.answer["status"]).inc()
    _note_overrides(transaction.author, outcome)
    headers = {HUB_REVISION: str(outcome.position)}
    if outcome.etag:
        headers["ETag"] = outcome.etag
    answer = dict(outcome.answer) | {"warnings": warnings_for(grant.covers, outcome.answer["warnings"])}
    if outcome.foreseen is not None and any(write.kind is Kind.DOCUMENT for write in transaction.writes):
        answer["effect"] = effect_of(outcome.foreseen, hub.instances_of, grant.covers)
    return Response(encode(answer), media_type="application/json", headers=headers)


def permitted(grant: Grant, allow: Collection[str], reason: str | None) -> frozenset[str]:
    """What of an `allow` counts: nothing lets a secret pass without a reason, which is kept in the history.

    Raises Forbidden for what the token may not say at all.
    """
    secrets = {word for word in allow if word.startswith(OVERRIDE)}
    if (secrets or CONTRACT in allow) and not grant.may(Verb.FORCE):
        raise Forbidden("passing a guard for secrets or contracts takes a token with the verb force")
    return frozenset(allow) if (reason or "").strip() else frozenset(allow) - secrets


def _permitted(grant: Grant, asked: Asked) -> Asked:
    return replace(asked, allow=permitted(grant, asked.allow, asked.reason))


def json_object(value: Any) -> dict[str, Any]:
    """The value, which must be an object. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object")
    return value


def _note_overrides(author: str, outcome: Outcome) -> None:
    for update in outcome.answer.get("updates", [outcome.answer]):
        stored = update["status"] not in ("valid", "unchanged")
        places = [warning["pointer"] for warning in update["warnings"] if warning["code"] == Warned.ALLOWED_SECRET]
        if stored and places:
            log.warning(
                "credential stored by force",
                service=update["service"],
                environment=update["environment"],
                revision=str(outcome.position),
                places=places,
                caller=author,
            )


def _write(hub: CentralHubService, asked: Asked, preconditions: Preconditions) -> Write:
    return Write(
        service=asked.service,
        environment=asked.environment,
        edit=asked.edit,
        version=asked.version,
        reason=asked.reason,
        allow=asked.allow,
        preconditions=preconditions,
        kind=asked.kind,
        takes_back=asked.takes_back,
    )


def _preconditions(hub: CentralHubService, request: Request, asked: Asked) -> Preconditions:
    if_match = request.headers.get("if-match")
    if_none_match = request.headers.get("if-none-match")
    if if_none_match not in (None, "*"):
        raise InvalidRequest("of If-None-Match, a write takes only *: the document must not exist yet")
    return replace(
        _named_preconditions(hub, asked),
        etags=None if if_match is None else parse_tags(if_match),
        must_not_exist=if_none_match is not None,
    )


def _named_preconditions(hub: CentralHubService, asked: Asked) -> Preconditions:
    return Preconditions(
        expected=None if asked.expected_revision is None else parse_position(hub, asked.expected_revision),
        required_to_replace=asked.must_name_what_it_replaces,
    )


def _retry(request: Request, grant: Grant, body: bytes) -> Retry | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= _MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise InvalidRequest(f"an Idempotency-Key has 1 to {_MAX_KEY_CHARACTERS} printable ASCII characters")
    what = "\n".join([request.method, request.url.path, request.url.query, request.headers.get("content-type", "")])
    return Retry(grant.token_id, key, hashlib.sha256(what.encode() + b"\n" + body).hexdigest())
