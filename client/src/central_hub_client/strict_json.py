"""The one JSON parser that both sides use: what it accepts survives a round trip through any conforming parser.

The standard library's parser takes NaN, 1e400, lone surrogates and keeps the last of duplicate keys; faster ones turn
2^64+1 into a float without a word. A configuration must not change its meaning between two readers, so all of these
are refused here (RFC 8259, and the interoperable subset of RFC 7493).
"""

import json
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import Any, Final, NoReturn

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
MAX_STRING_BYTES: Final = 256 * 1024
MAX_KEY_CHARACTERS: Final = 128
# Of any body: room for an envelope around the deepest document and for JSON Schemas, far from the recursion limit.
MAX_NESTING: Final = 100

_MAX_INTEGER_DIGITS: Final = 17  # sign included; anything longer is beyond 2^53
_MAX_NUMBER_CHARACTERS: Final = 400

# How to get to a container, innermost step first.
_Path = tuple[Any, str | int] | None


class MalformedJson(ValueError):
    """The bytes are not JSON, or JSON that does not mean the same to every reader."""


class LimitExceeded(ValueError):
    """The document is well-formed but deeper or larger than a document may be. `pointer` names the place."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


def parse(body: bytes, *, max_nodes: int = MAX_NODES, bounded_integers: bool = True) -> Any:
    """Return the value that `body` spells.

    Raises MalformedJson for anything that another parser could read differently, and LimitExceeded where reading it
    would cost more than the limits allow; `check_limits` holds a parsed document against the exact limits. The result
    is at most MAX_NESTING deep, so recursing into it is safe.
    `bounded_integers=False` admits integers beyond ±(2^53−1) (JSON Schemas use them as bounds).
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJson(f"the body is not UTF-8 (byte {error.start})") from error
    if text.startswith("\ufeff"):
        raise MalformedJson("the body starts with a byte order mark")
    _refuse_node_bombs(body, max_nodes)
    try:
        value = (_BOUNDED if bounded_integers else _UNBOUNDED).decode(text)
    except json.JSONDecodeError as error:
        raise MalformedJson(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise LimitExceeded(f"nested deeper than {MAX_NESTING} levels") from error
    _refuse_deep_nesting(value)
    if "\\u" in text:  # unescaped, neither NUL nor half a surrogate pair gets this far
        _refuse_unportable_strings(value)
    return value


def check_limits(document: Any) -> None:
    """Raise LimitExceeded unless `document` keeps to the depth, node, string and key limits of a document."""
    nodes = 0
    # The document itself is the one item of a list, so that a document that is a string needs no rule of its own.
    # Ways are linked lists, spelled out only in an error: fifty thousand long pointers would fill the memory.
    waiting: list[tuple[Any, int, _Path]] = [([document], 0, None)]
    while waiting:
        container, depth, path = waiting.pop()
        nodes += len(container)
        if nodes > MAX_NODES:
            raise LimitExceeded(f"more than {MAX_NODES} values")
        if isinstance(container, dict) and any(len(key) > MAX_KEY_CHARACTERS for key in container):
            raise LimitExceeded(f"a key longer than {MAX_KEY_CHARACTERS} characters", _pointer(path))
        for token, item in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(item, str):
                if len(item) * 4 > MAX_STRING_BYTES and len(item.encode()) > MAX_STRING_BYTES:
                    raise LimitExceeded(f"a string longer than {MAX_STRING_BYTES // 1024} KiB", _pointer((path, token)))
            elif isinstance(item, (dict, list)):
                if depth == MAX_DEPTH:
                    raise LimitExceeded(f"nested deeper than {MAX_DEPTH} levels", _pointer((path, token)))
                if item:
                    waiting.append((item, depth + 1, (path, token)))


def check_integers(value: Any) -> None:
    """Raise MalformedJson for an integer beyond ±(2^53−1) in what was parsed without bounds for them."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, int) and not -MAX_INTEGER <= item <= MAX_INTEGER:
            raise _beyond_bounds()


def canonical(value: Any) -> bytes:
    """The one spelling of a value that hashes are taken over: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def escape_pointer(token: str) -> str:
    """One reference token of a JSON Pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


def _pointer(path: _Path) -> str:
    tokens: list[str] = []
    while path is not None:
        path, token = path
        tokens.append(escape_pointer(str(token)))
    return "".join(f"/{token}" for token in reversed(tokens[:-1]))  # without the step into the list around the document


def _refuse_node_bombs(body: bytes, max_nodes: int) -> None:
    # A few bytes of JSON become kilobytes of Python objects, so count before building. Every comma and every bracket
    # outside a string stands for a value of its own, which makes either count a lower bound.
    if body.count(b",") + body.count(b"[") + body.count(b"{") <= max_nodes:
        return
    # Without the escapes, quotes only begin and end strings. A regular expression takes five times as long for this.
    outside_strings = b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    openers = outside_strings.count(b"[") + outside_strings.count(b"{")
    if outside_strings.count(b",") >= max_nodes or openers > max_nodes:
        raise LimitExceeded(f"more than {max_nodes} values")


def _refuse_deep_nesting(value: Any) -> None:
    level = _containers([value])
    for _ in range(MAX_NESTING):
        if not level:
            return
        level = [
            inner for outer in level for inner in _containers(outer.values() if isinstance(outer, dict) else outer)
        ]
    if level:
        raise LimitExceeded(f"nested deeper than {MAX_NESTING} levels")


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, (dict, list))]


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedJson("an object has the same key twice")
            seen.add(key)
    return result


def _integer(literal: str) -> int:
    if len(literal) <= _MAX_INTEGER_DIGITS:
        value = int(literal)
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
    raise _beyond_bounds()


def _beyond_bounds() -> MalformedJson:
    return MalformedJson("an integer beyond ±(2^53−1) loses digits in most JSON readers: send it as a string")


def _any_integer(literal: str) -> int:
    if len(literal) > _MAX_NUMBER_CHARACTERS:
        raise MalformedJson(f"an integer of more than {_MAX_NUMBER_CHARACTERS} digits")
    return int(literal)


def _number(literal: str) -> float:
    if not _is_exact(literal):
        raise MalformedJson("a number has more digits or a larger exponent than a double keeps: send it as a string")
    # PostgreSQL and JavaScript spell −0.0 as 0: one spelling for both, and so one hash.
    return float(literal) or 0.0


def _is_exact(literal: str) -> bool:
    """Whether a double holds the very number that `literal` spells."""
    if len(literal) <= 16 and "e" not in literal and "E" not in literal:
        return True  # a double keeps any 15 digits
    value = float(literal)
    if repr(value) == literal:
        return True
    if len(literal) > _MAX_NUMBER_CHARACTERS or isinf(value):
        return False
    try:
        return Decimal(repr(value)) == Decimal(literal)
    except InvalidOperation:  # an exponent beyond those of Decimal
        return False


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is not JSON")


def _refuse_unportable_strings(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            _refuse_unportable_string(item)
        elif isinstance(item, dict):
            for key in item:
                _refuse_unportable_string(key)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _refuse_unportable_string(text: str) -> None:
    if "\x00" in text:
        raise MalformedJson("a string contains NUL, which PostgreSQL and most systems cannot store")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MalformedJson("a string contains half of a surrogate pair") from error


def _decoder(parse_int: Callable[[str], int]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_object_without_duplicates,
        parse_int=parse_int,
        parse_float=_number,
        parse_constant=_refuse_constant,
    )


# Made once: for a short text that takes as long as reading it.
_BOUNDED: Final = _decoder(_integer)
_UNBOUNDED: Final = _decoder(_any_integer)
