"""`${NAME}` and `${NAME:-default}`, the one dialect of variables in infrastructure.yaml. Pure.

An empty variable counts as not set, as it does in the settings of the hub. `$${` is a literal `${`.
"""

import re
from collections.abc import Mapping
from typing import Final

NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"

_VARIABLE: Final = re.compile(
    r"(?P<literal>\$\$\{)"
    rf"|\$\{{(?P<name>{NAME})(?::-(?P<default>(?:[^}}$]|\$(?!\{{))*))?\}}"
    r"|(?P<malformed>\$\{)"
)
_ALONE: Final = re.compile(rf"\$\{{({NAME})\}}\Z")


class WrongVariable(ValueError):
    """A text cannot be filled in. The message names the variables, and no value."""


def filled_in(text: str, environment: Mapping[str, str]) -> str:
    """The text with its variables in it. Raises WrongVariable."""
    if "${" not in text:
        return text
    wrong: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match["literal"]:
            return "${"
        if match["malformed"]:
            wrong.append(
                "`${` begins a variable, ${NAME} or ${NAME:-default}; for the characters themselves write `$${`"
            )
            return ""
        found = environment.get(match["name"]) or match["default"]
        if found is None:
            wrong.append(f"the environment variable {match['name']} is not set, and has no default")
        return found or ""

    filled = _VARIABLE.sub(value, text)
    if wrong:
        raise WrongVariable("; ".join(dict.fromkeys(wrong)))
    return filled


def named_alone(text: str) -> str | None:
    """The name of the variable that is all of the text, without a default."""
    match = _ALONE.match(text)
    return match and match[1]
