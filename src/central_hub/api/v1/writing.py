"""From a request to a write, and from its outcome to an answer."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import Request, Response

from central_hub.api.auth import authorise
from central_hub.api.conditions import parse_tags
from central_hub.api.encoding import encode
from central_hub.api.v1.reading import parse_position
from central_hub.config.edits import Edit
from central_hub.config.effect import effect_of
from central_hub.config.plan import CONTRACT, Preconditions, Retry, Write
from central_hub.config.secret_check import OVERRIDE
from central_hub.config.store import Outcome
from central_hub.errors import Forbidden, HubError, InvalidRequest, Warned
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.configs import Kind
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


async def answer_write(hub: CentralHubService, request: Request, grant: Grant, asked: Asked) -> Response:
    """Carry out a write and say what came of it. Raises the HubError of the first rule that it breaks."""
    allow = permitted(grant, asked.allow, asked.reason)
    authorise(grant, asked.service, asked.environment)
    try:
        outcome = await hub.store.write(
            Write(
                service=asked.service,
                environment=asked.environment,
                edit=asked.edit,
                author=grant.name,
                version=asked.version,
                reason=asked.reason,
                allow=allow,
                preconditions=_preconditions(hub, request, asked),
                retry=_retry(request, grant, asked.body),
                dry_run=asked.dry_run,
                size_bytes=len(asked.body),
                kind=asked.kind,
            )
        )
    except HubError as error:
        hub.metrics.writes.labels(str(error.code)).inc()
        raise
    hub.metrics.writes.labels(outcome.answer["status"]).inc()
    _note_overrides(grant, outcome)
    headers = {HUB_REVISION: str(outcome.position)}
    if outcome.etag:
        headers["ETag"] = outcome.etag
    answer = dict(outcome.answer)
    if outcome.foreseen is not None and asked.kind is Kind.DOCUMENT:
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


def json_object(value: Any) -> dict[str, Any]:
    """The value, which must be an object. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object")
    return value


def _note_overrides(grant: Grant, outcome: Outcome) -> None:
    stored = outcome.answer["status"] not in ("valid", "unchanged")
    places = [warning["pointer"] for warning in outcome.answer["warnings"] if warning["code"] == Warned.ALLOWED_SECRET]
    if stored and places:
        log.warning(
            "credential stored by force",
            service=outcome.answer["service"],
            environment=outcome.answer["environment"],
            revision=str(outcome.position),
            places=places,
            caller=grant.name,
        )


def _preconditions(hub: CentralHubService, request: Request, asked: Asked) -> Preconditions:
    if_match = request.headers.get("if-match")
    if_none_match = request.headers.get("if-none-match")
    if if_none_match not in (None, "*"):
        raise InvalidRequest("of If-None-Match, a write takes only *: the document must not exist yet")
    return Preconditions(
        etags=None if if_match is None else parse_tags(if_match),
        must_not_exist=if_none_match is not None,
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
