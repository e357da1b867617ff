"""What the past of a document says of the keys that a change touches. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from central_hub_client.strict_json import escape_pointer

UNTOUCHED_FOR: Final = timedelta(days=180)
"""A key that nobody has altered for so long is one that nobody remembers the reason of."""

Changes = Iterable[Mapping[str, Any]]

_TYPES: Final = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}


def type_of(value: Any) -> str:
    """The JSON type, in a word; integers and fractions are one. Of null it is `null`."""
    return _TYPES.get(type(value), "null")


def places(pointer: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value and everything in its objects, each with its JSON Pointer. Lists count as one value."""
    yield pointer, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(f"{pointer}/{escape_pointer(key)}", item)


def created(changes: Changes) -> dict[str, str]:
    """The keys that a change creates, by JSON Pointer, with the type of each. Null is of no type."""
    found: dict[str, str] = {}
    for change in changes:
        if "new" not in change:
            continue
        before = dict(places(change["path"], change["old"])) if "old" in change else {}
        for pointer, value in places(change["path"], change["new"]):
            if pointer not in before and value is not None:
                found[pointer] = type_of(value)
    return found


def reused(created_types: Mapping[str, str], history: Iterable[Changes]) -> dict[str, tuple[str, str]]:
    """Of the keys created, those that were there before with another type: the old type and the new one.

    `history` are the change lists of the document, newest first; those without a removal may be left out.
    """
    wanted = dict(created_types)
    found: dict[str, tuple[str, str]] = {}
    for changes in history:
        if not wanted:
            break
        for change in changes:
            if "old" not in change:
                continue
            for pointer, value in places(change["path"], change["old"]):
                new = wanted.pop(pointer, None)
                if new is not None and value is not None and type_of(value) != new:
                    found[pointer] = (type_of(value), new)
    return found


def altered(changes: Changes) -> list[str]:
    """The keys that were there before and are altered or removed."""
    return [change["path"] for change in changes if change["op"] != "add"]
