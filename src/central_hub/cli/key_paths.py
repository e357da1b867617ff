"""How keys are named on the command line: `operational.batch_size`, or `/operational/batch_size`. Pure."""

import json
from typing import Any

from central_hub_client import strict_json
from central_hub_client.strict_json import escape_pointer

Steps = tuple[str, ...]


class WrongKey(ValueError):
    """The text does not name a key, or the value given for it cannot be stored. The message is for people."""


def parse_key(text: str) -> Steps:
    """The steps to a key. A key that itself contains a dot is named by its pointer. Raises WrongKey."""
    if text.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/"))
    steps = tuple(text.split("."))
    if not all(steps):
        raise WrongKey(f"{text!r} names no key: write operational.batch_size, or /operational/batch_size")
    return steps


def parse_assignment(text: str) -> tuple[Steps, Any]:
    """`KEY=VALUE`: the value is JSON where it reads as JSON, text otherwise. Raises WrongKey."""
    key, equals, value = text.partition("=")
    if not equals:
        raise WrongKey(f"{text!r} is not KEY=VALUE: write for example operational.batch_size=200")
    return parse_key(key), parse_value(key, value)


def parse_value(key: str, text: str) -> Any:
    """JSON where the text is JSON, text otherwise: `200`, `true`, `[1, 2]`, `hello`. Raises WrongKey."""
    value: Any = text
    if _reads_as_json(text):
        try:
            value = strict_json.parse(text.encode())
        except ValueError as error:
            raise WrongKey(f"the value of {key}: {error}. As text it would be written {key}='\"{text}\"'") from error
    if _contains_null(value):
        raise WrongKey(
            f"the value of {key} contains null, which means removal here: `--unset KEY` removes a key, and"
            " `central-hub edit` stores a null"
        )
    return value


def merge_patch(assignments: list[tuple[Steps, Any]], removals: list[Steps]) -> dict[str, Any]:
    """The merge patch (RFC 7396) that does all of it. Raises WrongKey where two of them name the same key."""
    patch: dict[str, Any] = {}
    for steps, value in [*assignments, *((steps, None) for steps in removals)]:
        target = patch
        for step in steps[:-1]:
            target = target.setdefault(step, {})
            if not isinstance(target, dict):
                raise WrongKey(f"{dotted(steps)} is named together with a key above it: set them one after the other")
        if steps[-1] in target:
            raise WrongKey(f"{dotted(steps)} is named twice")
        target[steps[-1]] = value
    return patch


def nested(assignments: list[tuple[Steps, Any]]) -> dict[str, Any]:
    """The document that consists of nothing but these keys. Raises WrongKey."""
    return merge_patch(assignments, [])


def find(value: Any, steps: Steps) -> Any:
    """What lies at the end of the steps. Raises WrongKey where there is nothing."""
    for taken, step in enumerate(steps, 1):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise WrongKey(f"there is no key {dotted(steps[:taken])}")
    return value


def dotted(steps: Steps) -> str:
    """The steps as they are typed: with dots, or as a pointer where a step contains a dot or could be taken for one."""
    if any("." in step or not step or step.startswith("/") for step in steps):
        return pointer(steps)
    return ".".join(steps)


def dotted_pointer(text: str) -> str:
    """A JSON Pointer of the hub, as it is typed."""
    return dotted(parse_key(text)) if text else "(the whole document)"


def pointer(steps: Steps) -> str:
    return "".join(f"/{escape_pointer(step)}" for step in steps)


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _contains_null(value: Any) -> bool:
    # In a list null is a value like any other: a merge patch replaces lists whole.
    return value is None or (isinstance(value, dict) and any(map(_contains_null, value.values())))
