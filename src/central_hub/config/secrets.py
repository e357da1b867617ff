"""Find credentials in a document, so that they are refused before they are stored. Pure.

Only the shape of a text counts here, never its key: a field named `api_key` may hold a reference, a limit, a path.
"""

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from central_hub.config.credential_shapes import SHAPES
from central_hub_client.strict_json import escape_pointer

_SHORTEST_CREDENTIAL: Final = 8  # a://:b@c

# How to get to a container, innermost step first: a linked list, because few ways are ever spelled out as a pointer.
_Path = tuple[Any, str | int] | None


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a credential stands and of what kind it is; never the credential itself.

    One in a key name is placed at the object that has the key, because the key's own pointer would repeat it.
    """

    pointer: str
    kind: str


def find_credentials(document: Any) -> list[Credential]:
    """Every credential of a known shape in the keys and string values of a parsed JSON document, outermost first.

    Takes time linear in the size of the document. No pointer repeats a credential: below a key that is one itself,
    pointers end at the object that has that key.
    """
    kinds = _search(_texts(document))
    return list(dict.fromkeys(_place(document, kinds))) if kinds else []


def _containers(document: Any) -> Iterator[tuple[Any, _Path]]:
    """Every object and list with the way to it, breadth first: no recursion, however deep the document."""
    # The document itself is the one item of a list, so that a document that is a string needs no rule of its own.
    waiting: list[tuple[Any, _Path]] = [([document], None)]
    for container, path in waiting:
        yield container, path
        waiting += [(item, (path, token)) for token, item in _items(container) if isinstance(item, (dict, list))]


def _items(container: Any) -> Iterable[tuple[Any, Any]]:
    return container.items() if isinstance(container, dict) else enumerate(container)


def _texts(document: Any) -> list[str]:
    distinct: set[str] = set()
    for container, _ in _containers(document):
        if isinstance(container, dict):
            distinct.update(container)
        distinct.update(item for _, item in _items(container) if isinstance(item, str))
    return [text for text in distinct if len(text) >= _SHORTEST_CREDENTIAL]


def _search(texts: list[str]) -> dict[str, str]:
    """The kind of credential in each text that has one."""
    # One search through all texts for each shape: fifty thousand texts times fifty shapes would be too many calls.
    joined = "\0".join(texts)
    starts = list(accumulate((len(text) + 1 for text in texts), initial=0))
    kinds: dict[str, str] = {}
    for shape in SHAPES:
        for match in shape.pattern.finditer(joined):
            text = texts[bisect_right(starts, match.start()) - 1]
            if text not in kinds and (shape.is_real is None or shape.is_real(match)):
                kinds[text] = shape.kind
    return kinds


def _place(document: Any, kinds: dict[str, str]) -> Iterator[Credential]:
    for container, path in _containers(document):
        for token, item in _items(container):
            if token in kinds:
                yield Credential(_pointer(path, kinds), f"{kinds[token]} in a key name")
            if isinstance(item, str) and item in kinds:
                yield Credential(_pointer((path, token), kinds), kinds[item])


def _pointer(path: _Path, secrets: Container[Any]) -> str:
    tokens: list[str] = []
    while path is not None:
        path, token = path
        if token in secrets:
            tokens.clear()
        else:
            tokens.append(escape_pointer(str(token)))
    return "".join(f"/{token}" for token in reversed(tokens[:-1]))  # without the step into the list around the document
