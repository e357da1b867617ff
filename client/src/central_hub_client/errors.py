"""What can go wrong between a service and the hub, as one family. The class follows from the problem's `code`.

`ConfigClient` raises none of these: it keeps what it has and tells through its `status`. They are for whoever speaks
HTTP to the hub directly, such as the command line, and for a `ConfigManager` that has nothing to run on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from central_hub_client.wire import ErrorCode


@dataclass(frozen=True, slots=True)
class Finding:
    """One of several things wrong with a document: where (JSON Pointer), what kind, and a readable sentence."""

    pointer: str
    code: str
    message: str
    service: str = ""
    """Whose configuration is wrong, where a schema finds it: a change may break that of others."""
    environment: str = ""


class CentralHubError(Exception):
    """The hub could not be asked, or said no. `code` is stable, `detail` is a sentence a stranger can act on.

    `errors` point into the document; `extra` holds what else the problem document said (the keys an update would
    remove, the current ETag); `retry_after_seconds` is the hub's own wish.
    """

    default_code: ClassVar[str] = ErrorCode.INTERNAL

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        status: int | None = None,
        errors: tuple[Finding, ...] = (),
        extra: Mapping[str, Any] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or str(self.default_code)
        self.status = status
        self.errors = errors
        self.extra = dict(extra or {})
        self.retry_after_seconds = retry_after_seconds


class HubUnreachable(CentralHubError):
    """No answer: no connection, no name, or silence."""

    default_code = "unreachable"


class InvalidSettings(HubUnreachable):
    """The client was told something that cannot be right, so it cannot ask."""

    default_code = "invalid_settings"


class HubUnavailable(CentralHubError):
    """The hub answered that it cannot serve this now; `retry_after_seconds` says when to ask again."""

    default_code = "unavailable"


class InvalidAnswer(CentralHubError):
    """Something answered, but not as a hub does: a redirect, a page, broken JSON, a wrong hash, another's config."""

    default_code = "invalid_answer"


class Unauthenticated(CentralHubError):
    """A valid token is needed."""

    default_code = ErrorCode.UNAUTHENTICATED


class Forbidden(CentralHubError):
    """The token does not allow this."""

    default_code = ErrorCode.FORBIDDEN


class NotFound(CentralHubError):
    """The hub knows no such thing."""

    default_code = ErrorCode.NOT_FOUND


class HistoryGone(CentralHubError):
    """The revision named is older than what is kept, or of another epoch: start again from the current state."""

    default_code = ErrorCode.HISTORY_GONE


class Conflict(CentralHubError):
    """The document has moved on, or a precondition is missing: read it again, then decide."""

    default_code = ErrorCode.REVISION_CONFLICT


class UpdateRefused(CentralHubError):
    """A guard refused the update: removed keys, a suspicious size, a key's new type. `allow` says it is meant."""

    default_code = ErrorCode.REMOVALS_NOT_ALLOWED


class InvalidConfig(CentralHubError):
    """The document itself is not acceptable; `errors` point at the places."""

    default_code = "schema_violation"


class IncompleteConfig(CentralHubError):
    """There is no configuration to run on: values that the settings model requires come from nowhere.

    `errors` names every one of them. Raised by `ConfigManager`, on the first use of `current` or, where it is strict,
    by its start.
    """

    default_code = "incomplete_config"


class NoInstance(CentralHubError):
    """No instance of the service may be called now: none is registered, or none is well. `detail` says how they are."""

    default_code = ErrorCode.NO_INSTANCE


class InvalidRequest(CentralHubError):
    """The request is not one that the hub understands."""

    default_code = ErrorCode.INVALID_REQUEST


_STANDARD_FIELDS = frozenset({"type", "title", "status", "detail", "code", "errors", "instance"})

_BY_CODE: dict[str, type[CentralHubError]] = {
    ErrorCode.UNAUTHENTICATED: Unauthenticated,
    ErrorCode.FORBIDDEN: Forbidden,
    ErrorCode.NOT_FOUND: NotFound,
    ErrorCode.HISTORY_GONE: HistoryGone,
    ErrorCode.EPOCH_CHANGED: HistoryGone,
    ErrorCode.REVISION_CONFLICT: Conflict,
    ErrorCode.PRECONDITION_REQUIRED: Conflict,
    ErrorCode.IDEMPOTENCY_MISMATCH: Conflict,
    ErrorCode.STALE_GENERATION: Conflict,
    ErrorCode.REMOVALS_NOT_ALLOWED: UpdateRefused,
    ErrorCode.DELTA_NOT_ALLOWED: UpdateRefused,
    ErrorCode.TYPE_REUSE: UpdateRefused,
    ErrorCode.MALFORMED_JSON: InvalidConfig,
    ErrorCode.LIMIT_EXCEEDED: InvalidConfig,
    ErrorCode.SECRET_REJECTED: InvalidConfig,
    ErrorCode.SCHEMA_VIOLATION: InvalidConfig,
    ErrorCode.CONTRACT_VIOLATION: InvalidConfig,
    ErrorCode.RATE_LIMITED: HubUnavailable,
    ErrorCode.STORE_UNAVAILABLE: HubUnavailable,
    ErrorCode.REPLICA_BEHIND: HubUnavailable,
    ErrorCode.NO_INSTANCE: NoInstance,
}

_BY_STATUS: dict[int, type[CentralHubError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: HistoryGone,
    412: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    421: InvalidRequest,
    422: InvalidRequest,
    428: Conflict,
    429: HubUnavailable,
    500: HubUnavailable,
    502: HubUnavailable,
    503: HubUnavailable,
    504: HubUnavailable,
}


def error_from(status: int, problem: Any, *, retry_after_seconds: float | None = None) -> CentralHubError:
    """The error that an answer of this status stands for; `problem` is its parsed body, or None if it had none.

    An answer that is no problem document (a proxy's page) is judged by its status alone, and so is a code that only a
    later hub knows.
    """
    fields: Mapping[str, Any] = problem if isinstance(problem, Mapping) else {}
    code = fields.get("code")
    code = code if isinstance(code, str) else ""
    detail = fields.get("detail")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or CentralHubError
    return kind(
        detail if isinstance(detail, str) else f"the answer was HTTP {status} without a reason",
        code=code,
        status=status,
        errors=_findings(fields.get("errors")),
        extra={key: value for key, value in fields.items() if key not in _STANDARD_FIELDS},
        retry_after_seconds=retry_after_seconds,
    )


def _findings(value: Any) -> tuple[Finding, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        Finding(*(str(item.get(name, "")) for name in ("pointer", "code", "message", "service", "environment")))
        for item in value
        if isinstance(item, Mapping)
    )
