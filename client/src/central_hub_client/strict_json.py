"""The one JSON parser that both sides use: what it accepts survives a round trip through any conforming parser.

The standard library's parser takes NaN, 1e400, lone surrogates and keeps the last of duplicate keys; faster ones turn
2^64+1 into a float without a word. A configuration must not change its meaning between two readers, so all of these
are refused here (RFC 8259, and the interoperable subset of RFC 7493).
"""

import json
import re
from decimal import Decimal
from typing import Any, Final, NoReturn

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
MAX_STRING_BYTES: Final = 256 * 1024
MAX_KEY_CHARACTERS: Final = 128

_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_MAX_INTEGER_DIGITS: Final = 17  # sign included; anything longer is beyond 2^53


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
    would cost more than the limits allow; `check_limits` holds a parsed document against the exact limits.
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
        value = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_int=_integer if bounded_integers else _any_integer,
            parse_float=_number,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise MalformedJson(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise LimitExceeded(f"nested deeper than {MAX_DEPTH} levels") from error
    if "\\u" in text:
        _refuse_unportable_strings(value)
    elif "\x00" in text:  # unreachable through json.loads, which refuses control characters; kept as the invariant
        raise MalformedJson("a string contains NUL")
    return value


def check_limits(document: Any) -> None:
    """Raise LimitExceeded unless `document` keeps to the depth, node, string and key limits of a document."""
    nodes = 0
    # Depth counts containers: a scalar document is 0 deep, {"a": 1} is 1 deep.
    stack: list[tuple[Any, int, str]] = [(document, 0, "")]
    while stack:
        value, depth, pointer = stack.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise LimitExceeded(f"more than {MAX_NODES} values")
        if isinstance(value, str):
            if len(value) * 4 > MAX_STRING_BYTES and len(value.encode()) > MAX_STRING_BYTES:
                raise LimitExceeded(f"a string longer than {MAX_STRING_BYTES // 1024} KiB", pointer)
        elif isinstance(value, dict):
            if depth >= MAX_DEPTH:
                raise LimitExceeded(f"nested deeper than {MAX_DEPTH} levels", pointer)
            for key, item in value.items():
                if len(key) > MAX_KEY_CHARACTERS:
                    raise LimitExceeded(f"a key longer than {MAX_KEY_CHARACTERS} characters", pointer)
                stack.append((item, depth + 1, f"{pointer}/{escape_pointer(key)}"))
        elif isinstance(value, list):
            if depth >= MAX_DEPTH:
                raise LimitExceeded(f"nested deeper than {MAX_DEPTH} levels", pointer)
            stack.extend((item, depth + 1, f"{pointer}/{index}") for index, item in enumerate(value))


def canonical(value: Any) -> bytes:
    """The one spelling of a value that hashes are taken over: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def escape_pointer(token: str) -> str:
    """One reference token of a JSON Pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


def _refuse_node_bombs(body: bytes, max_nodes: int) -> None:
    # A few bytes of JSON become kilobytes of Python objects, so count before building. Every comma and every bracket
    # outside a string stands for a value of its own, which makes either count a lower bound.
    if body.count(b",") + body.count(b"[") + body.count(b"{") <= max_nodes:
        return
    skeleton = _STRINGS.sub(b"", body)
    if skeleton.count(b",") >= max_nodes or skeleton.count(b"[") + skeleton.count(b"{") > max_nodes:
        raise LimitExceeded(f"more than {max_nodes} values")


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
    raise MalformedJson("an integer beyond ±(2^53−1) loses digits in most JSON readers: send it as a string")


def _any_integer(literal: str) -> int:
    if len(literal) > 400:
        raise MalformedJson("an integer of more than 400 digits")
    return int(literal)


def _number(literal: str) -> float:
    value = float(literal)
    if value in (float("inf"), float("-inf")) or Decimal(repr(value)) != Decimal(literal):
        raise MalformedJson("a number has more digits or a larger exponent than a double keeps: send it as a string")
    return value


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
