"""Find credentials in a document, so that they are refused before they are stored. Pure.

Only the shape of a text counts here, never its key: a field named `api_key` may hold a reference, a limit, a path.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from central_hub.config.walk import containers, items, pointer
from central_hub.security.credential_shapes import SHAPES

_SHORTEST_CREDENTIAL: Final = 8  # a://:b@c
_SHORTEST_TOKEN: Final = 18  # without a separator: AKIA and what follows it


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a credential stands and of what kind it is; never the credential itself.

    One in a key name is placed at the object that has the key, because the key's own pointer would repeat it.
    """

    pointer: str
    kind: str


def find_credentials(document: Any, *, beyond: Any = None) -> list[Credential]:
    """Every credential of a known shape in the keys and string values of a parsed JSON document, outermost first.

    Texts that stand in the document `beyond`, wherever, are known and not looked for. Takes time linear in the size
    of both. No pointer repeats a credential: below a key that is one itself, pointers end at the object that has that
    key.
    """
    texts = _texts(document)
    if beyond is not None:
        texts -= _texts(beyond)
    kinds = _search(list(texts))
    return list(dict.fromkeys(_place(document, kinds))) if kinds else []


def repeats_a_credential(*sentences: str) -> bool:
    """Whether a credential can be read in what would be said about a request, spelled out or in a JSON Pointer."""
    spelled_out = [sentence.replace("~1", "/").replace("~0", "~") for sentence in sentences]
    return bool(_search([*sentences, *spelled_out]))


def _texts(document: Any) -> set[str]:
    distinct: set[str] = set()
    for container, _ in containers(document):
        if isinstance(container, dict):
            distinct.update(container)
        distinct.update(item for _, item in items(container) if isinstance(item, str))
    return {text for text in distinct if _may_hold_one(text)}


def _may_hold_one(text: str) -> bool:
    length = len(text)
    return length >= _SHORTEST_TOKEN or (
        length >= _SHORTEST_CREDENTIAL and (":" in text or "=" in text or " " in text or "." in text)
    )


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
    for container, way in containers(document):
        for token, item in items(container):
            if token in kinds:
                yield Credential(pointer(way, kinds), f"{kinds[token]} in a key name")
            if isinstance(item, str) and item in kinds:
                yield Credential(pointer((way, token), kinds), kinds[item])
