"""What may be told to somebody whose token covers only some of the configs that a change reaches. Pure.

He is told that others refuse it, or warn of it, and how often: never whose they are, or what is in them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from central_hub.errors import HubError

Covers = Callable[[str, str], bool]

_SHOWN: Final = 3
_NOT_COVERED: Final = "in configs that this token does not cover"


def refusal_for(covers: Covers, error: HubError) -> HubError:
    """The error without what it finds in configs that are not covered."""
    shown = [finding for finding in error.errors if _is_covered(covers, finding.service, finding.environment)]
    hidden = len(error.errors) - len(shown)
    if not hidden:
        return error
    told = [finding.sentence for finding in shown[:_SHOWN]] + [f"{hidden} more {_NOT_COVERED}"]
    return type(error)(f"{error.title}: {'; '.join(told)}", errors=shown, extra=error.extra, headers=error.headers)


def warnings_for(covers: Covers, warnings: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The warnings, those of configs that are not covered only counted."""
    shown: list[Mapping[str, Any]] = []
    hidden: Counter[str] = Counter()
    for warning in warnings:
        if _is_covered(covers, warning.get("service"), warning.get("environment")):
            shown.append(warning)
        else:
            hidden[warning["code"]] += 1
    return shown + [
        {"pointer": "", "code": code, "message": f"has {count} more of these warnings {_NOT_COVERED}"}
        for code, count in sorted(hidden.items())
    ]


def _is_covered(covers: Covers, service: str | None, environment: str | None) -> bool:
    # What names no config is about the document written.
    return service is None or environment is None or covers(service, environment)
