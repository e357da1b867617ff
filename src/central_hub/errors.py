"""What can go wrong, as one family: each error knows its status, its stable code, and a sentence a stranger can act on.

Raised anywhere, turned into an RFC 9457 problem document by `api/problems.py`. No message ever carries a value that
might be a secret.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from central_hub_client.wire import ErrorCode


@dataclass(frozen=True, slots=True)
class Finding:
    """One of several things wrong with a document: where (JSON Pointer), what kind, and a readable sentence."""

    pointer: str
    code: str
    message: str
    keyword: str | None = None
    """Of a JSON Schema, where one finds it; the config that is wrong is then named as well."""
    service: str | None = None
    environment: str | None = None
    build: str | None = None
    """Of a consumer whose schema finds it (empty where it names none), and which of its instances are known."""
    instances: tuple[str, ...] | None = None

    @property
    def sentence(self) -> str:
        """Whose config is wrong, where, and how, in words."""
        return f"{self.service} in environment {self.environment}: {self.pointer or 'it'} {self.message}"

    def to_json(self) -> dict[str, Any]:
        said = ((name, getattr(self, name)) for name in ("pointer", "code", "message", *_WHERE_A_SCHEMA_APPLIES))
        return {name: value for name, value in said if value is not None}


_WHERE_A_SCHEMA_APPLIES: Final = ("keyword", "service", "environment", "build", "instances")


class Warned(StrEnum):
    """What a write may be warned of: the codes of findings that keep nobody from writing."""

    SUSPECTED_SECRET = "suspected_secret"  # noqa: S105 - the code of a warning
    ALLOWED_SECRET = "allowed_secret"  # noqa: S105
    NOT_A_REFERENCE = "not_a_reference"
    OVERRIDDEN_CONTRACT = "overridden_contract"
    UNHEARD_CONSUMER = "unheard_consumer"
    UNDECLARED_KEY = "undeclared_key"
    UNTOUCHED_KEY = "untouched_key"
    MANAGED_DOCUMENT = "managed_document"


class HubError(Exception):
    """An error that the caller is told about. `detail` is a sentence; `errors` point into the document."""

    status: ClassVar[int] = 500
    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[Finding] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


class MalformedBody(HubError):
    status, code, title = 400, ErrorCode.MALFORMED_JSON, "The body is not strict JSON"


class MalformedRequest(HubError):
    status, code, title = 400, ErrorCode.INVALID_REQUEST, "The request is not valid HTTP/1.1"


class Unauthenticated(HubError):
    status, code, title = 401, ErrorCode.UNAUTHENTICATED, "A valid token is needed"


class Forbidden(HubError):
    status, code, title = 403, ErrorCode.FORBIDDEN, "The token does not allow this"


class NotFound(HubError):
    status, code, title = 404, ErrorCode.NOT_FOUND, "Not found"


class MethodNotAllowed(HubError):
    status, code, title = 405, ErrorCode.METHOD_NOT_ALLOWED, "The path does not take this method"


class RequestTimeout(HubError):
    status, code, title = 408, ErrorCode.INVALID_REQUEST, "The request took too long to arrive"


class RemovalsNotAllowed(HubError):
    status, code, title = 409, ErrorCode.REMOVALS_NOT_ALLOWED, "The update would remove keys"


class DeltaNotAllowed(HubError):
    status, code, title = 409, ErrorCode.DELTA_NOT_ALLOWED, "The update changes too much at once"


class TypeReuse(HubError):
    status, code, title = 409, ErrorCode.TYPE_REUSE, "The update gives a deleted key another type"


class IdempotencyMismatch(HubError):
    status, code, title = 409, ErrorCode.IDEMPOTENCY_MISMATCH, "The Idempotency-Key was used for another request"


class StaleGeneration(HubError):
    status, code, title = 409, ErrorCode.STALE_GENERATION, "Another incarnation of the instance has taken over"


class LastInstance(HubError):
    status, code, title = 409, ErrorCode.NO_INSTANCE, "No instance would be left to call"


class HistoryGone(HubError):
    status, code, title = 410, ErrorCode.HISTORY_GONE, "That part of the history is no longer kept"


class EpochChanged(HubError):
    status, code, title = 410, ErrorCode.EPOCH_CHANGED, "The revision belongs to another epoch"


class Conflict(HubError):
    status, code, title = 412, ErrorCode.REVISION_CONFLICT, "The document has moved on"


class TooLarge(HubError):
    status, code, title = 413, ErrorCode.TOO_LARGE, "The body is too large"


class UnsupportedMediaType(HubError):
    status, code, title = 415, ErrorCode.UNSUPPORTED_MEDIA_TYPE, "The media type is not supported"


class WrongHost(HubError):
    status, code, title = 421, ErrorCode.WRONG_HOST, "This server does not answer for that host"


class InvalidName(HubError):
    status, code, title = 422, ErrorCode.INVALID_NAME, "A name is not allowed"


class InvalidRequest(HubError):
    status, code, title = 422, ErrorCode.INVALID_REQUEST, "The request is not valid"


class LimitExceeded(HubError):
    status, code, title = 422, ErrorCode.LIMIT_EXCEEDED, "The document exceeds a limit"


class SchemaViolation(HubError):
    status, code, title = 422, ErrorCode.SCHEMA_VIOLATION, "The config does not satisfy its schema"


class ContractViolation(HubError):
    status, code, title = 422, ErrorCode.CONTRACT_VIOLATION, "What runs would refuse the config"


class SecretRejected(HubError):
    status, code, title = 422, ErrorCode.SECRET_REJECTED, "The document contains a credential"


class PreconditionRequired(HubError):
    status, code, title = 428, ErrorCode.PRECONDITION_REQUIRED, "If-Match is needed"


class HeaderTooLarge(HubError):
    status, code, title = 431, ErrorCode.TOO_LARGE, "The request header is too large"


class TooManyRegistrations(HubError):
    status, code, title = 429, ErrorCode.RATE_LIMITED, "Too many instances register at once"


class TooManyConnections(HubError):
    status, code, title = 503, ErrorCode.RATE_LIMITED, "Too many connections"


class StoreUnavailable(HubError):
    status, code, title = 503, ErrorCode.STORE_UNAVAILABLE, "The database is not available"


class ReplicaBehind(HubError):
    status, code, title = 503, ErrorCode.REPLICA_BEHIND, "This replica has not reached that revision yet"


class NoInstance(HubError):
    status, code, title = 503, ErrorCode.NO_INSTANCE, "No instance can be called"


class StartupRefused(Exception):
    """The hub cannot start as it is configured. The message says what to change; the CLI prints it and exits."""
