"""Suspect a secret where a name announces one and the value is as good as random. Pure.

Nothing is refused for it: a name and a look of randomness are no proof. What is not random enough (`hunter2`) passes
without a word, because a warning that is usually wrong is soon not read.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import log2
from typing import Any, Final

from central_hub.config.walk import Way, containers, items, pointer
from central_hub.security.secret_names import announces_a_secret

MIN_BITS: Final = 38
"""Shannon entropy of the characters times their number: what eleven different characters just have."""
_MAX_CHARACTERS: Final = 512  # longer ones are contents: a certificate, a picture
_MAX_LOOKED_AT: Final = 2_000
"""Values under such names that are looked at: more of them are no configuration, and must not hold anybody up."""

_NO_SECRET: Final = re.compile(
    r"[^!-~]"  # more than one word, or not what secrets are written in
    r"|://|[{}<>]|\*\*\*|\.\.\."  # an address, a placeholder
    r"|^(?:[%$]|(?:\.{0,2}|~)/[a-z0-9_.-]+/|[A-Za-z]:\\|arn:|projects/|urn:)"  # a variable, a path, a resource
    r"|^[0-9]{4}-[0-9]{2}-[0-9]{2}"  # a date
    r"|@[A-Za-z0-9-]+\.[A-Za-z]"  # an e-mail address
    r"|^(?:ENC\[|vault:v[0-9]|sha(?:1|256|384|512)[:-]|md5:|SCRAM-SHA|pbkdf2|ssh-|ecdsa-)"  # encrypted, hashed, public
)
_CHUNK: Final = re.compile(r"[A-Za-z0-9]+")
_SHORT: Final = re.compile(r"[a-z]{1,3}|[A-Z]{1,3}|v?[0-9]{1,4}")
_PART: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_CONSONANTS: Final = re.compile(r"(?i)[b-df-hj-np-tv-xz]{5}")
_MIN_SHARE_OF_WORDS: Final = 0.6


def suspicions(document: Any, *, beyond: Any = None) -> list[str]:
    """Pointers to the strings that may be secrets, in the order of the document.

    Those that stand in the document `beyond` under the same name, wherever, are known already.
    """
    found = _suspects(document)
    if not found:
        return []
    known = {what for _, what in _suspects(beyond)}
    return [pointer(way) for way, what in found if what not in known]


def _suspects(document: Any) -> list[tuple[Way, tuple[str, str]]]:
    announced = islice(_announced(document), _MAX_LOOKED_AT)
    return [(way, (name, text)) for way, name, text in announced if looks_random(text)]


def _announced(document: Any) -> Iterator[tuple[Way, str, str]]:
    """Every string under a name that announces a secret, also in a list there."""
    for container, way in containers(document):
        if not isinstance(container, dict):
            continue
        for name, value in items(container):
            if isinstance(value, str):
                if announces_a_secret(name):
                    yield (way, name), name, value
            elif isinstance(value, list) and announces_a_secret(name):
                for index, item in enumerate(value):
                    if isinstance(item, str):
                        yield ((way, name), index), name, item


def looks_random(text: str) -> bool:
    """Whether a text has the entropy of a secret and is not made of words, numbers, an address or a placeholder."""
    length = len(text)
    if length > _MAX_CHARACTERS or length * log2(max(length, 1)) < MIN_BITS or _NO_SECRET.search(text) is not None:
        return False
    if text.isdecimal() or _share_of_words(text) >= _MIN_SHARE_OF_WORDS:
        return False
    counts = Counter(text).values()
    return sum(count * log2(length / count) for count in counts) >= MIN_BITS


def _share_of_words(text: str) -> float:
    """How much of the letters and digits stands in what can be spoken, or is an abbreviation or a small number."""
    spoken = length = 0
    for chunk in _CHUNK.findall(text):
        length += len(chunk)
        is_short = _SHORT.fullmatch(chunk) is not None
        spoken += len(chunk) if is_short else sum(len(part) for part in _PART.findall(chunk) if _is_word(part))
    return spoken / max(1, length)


def _is_word(part: str) -> bool:
    vowels = sum(letter in "aeiouyAEIOUY" for letter in part)
    return len(part) >= 4 and 0.15 <= vowels / len(part) <= 0.75 and _CONSONANTS.search(part) is None
