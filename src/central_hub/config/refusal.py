"""One refusal for several documents: of the first rule that any of them breaks, with all that break it. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from central_hub.errors import HubError
from central_hub_client.wire import ErrorCode

Refused = tuple[str, str, HubError]
"""The service, the environment, and why."""

_ORDER: Final = (
    ErrorCode.NOT_FOUND,
    ErrorCode.REVISION_CONFLICT,
    ErrorCode.PRECONDITION_REQUIRED,
    ErrorCode.LIMIT_EXCEEDED,
    ErrorCode.SECRET_REJECTED,
    ErrorCode.SCHEMA_VIOLATION,
    ErrorCode.REMOVALS_NOT_ALLOWED,
    ErrorCode.DELTA_NOT_ALLOWED,
    ErrorCode.TYPE_REUSE,
)
"""In which the rules answer, as for one document."""
_SAID_IN_FULL: Final = 3


def refusal_of_all(refused: Sequence[Refused]) -> HubError:
    """The error that tells of all documents which break the first rule broken. `refused` has one at least."""
    first = min((error for _, _, error in refused), key=_rank)
    same = [(service, environment, error) for service, environment, error in refused if error.code == first.code]
    said = [f"{service} in environment {environment}: {error.detail}" for service, environment, error in same]
    further = len(said) - _SAID_IN_FULL
    return type(first)(
        "; ".join(said[:_SAID_IN_FULL]) + (f"; and {further} more" if further > 0 else ""),
        errors=[
            replace(finding, service=finding.service or service, environment=finding.environment or environment)
            for service, environment, error in same
            for finding in error.errors
        ],
        extra={
            "refused": [
                {"service": service, "environment": environment, **error.extra} for service, environment, error in same
            ]
        },
    )


def _rank(error: HubError) -> int:
    return _ORDER.index(error.code) if error.code in _ORDER else len(_ORDER)
