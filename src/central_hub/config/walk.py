"""Every value of a parsed JSON document with the way to it. Pure, and no recursion, however deep the document."""

from collections.abc import Container, Iterable, Iterator
from typing import Any

from central_hub_client.strict_json import escape_pointer

Way = tuple[Any, str | int] | None
"""How to get to a value, innermost step first: a linked list, because few ways are ever spelled out as a pointer."""


def containers(document: Any) -> Iterator[tuple[Any, Way]]:
    """Every object and list, breadth first."""
    # The document itself is the one item of a list, so that a document that is a string needs no rule of its own.
    waiting: list[tuple[Any, Way]] = [([document], None)]
    for container, way in waiting:
        yield container, way
        waiting += [(item, (way, step)) for step, item in items(container) if isinstance(item, (dict, list))]


def items(container: Any) -> Iterable[tuple[Any, Any]]:
    """The values of an object or list, each with its key or index."""
    return container.items() if isinstance(container, dict) else enumerate(container)


def pointer(way: Way, hidden: Container[Any] = ()) -> str:
    """The JSON Pointer of a way. Below a key that is `hidden` it ends at the object that has that key."""
    tokens: list[str] = []
    while way is not None:
        way, step = way
        if step in hidden:
            tokens.clear()
        else:
            tokens.append(escape_pointer(str(step)))
    return "".join(f"/{token}" for token in reversed(tokens[:-1]))  # without the step into the list around the document
