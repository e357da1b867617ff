"""TOML with the line of each key. The standard library reads; a scan of the text it has accepted finds the lines."""

import datetime
import math
import re
import tomllib
from typing import Any, Final

from central_hub_client.strict_json import MAX_INTEGER, escape_pointer

_PIECE: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}=\n]|[^\s\[\]{}=#"\']+',
    re.DOTALL,
)


def read_toml(content: bytes) -> tuple[Any, dict[str, int]]:
    """The value, dates as text, and for the JSON Pointer of each key its line. Raises ValueError."""
    text = content.decode()
    return _as_json(tomllib.loads(text)), _lines(text)


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN and Infinity cannot be used")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError("an integer beyond ±(2^53−1) loses digits in most readers: write it as a string")
    return value


def _lines(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    table, statement, line, first_line, depth = "", "", 1, 1, 0
    is_value = is_in_list = False
    for match in _PIECE.finditer(text + "\n"):
        piece = match[0]
        if piece == "\n" and depth == 0:
            if statement.startswith("["):
                table, is_in_list = _pointer(statement), statement.startswith("[[")
            statement, is_value = "", False
        elif piece == "=" and not is_value and not statement.startswith("["):
            if not is_in_list:
                found[table + _pointer(f"{statement} = 0")] = first_line
            is_value = True
        elif is_value:
            depth += (piece in "[{") - (piece in "]}")
        elif not piece.startswith("#"):
            first_line = first_line if statement else line
            statement += piece
        line += piece.count("\n")
    return found


def _pointer(statement: str) -> str:
    """Of the key that a header or an assignment names, which the real parser takes apart."""
    pointer, value = "", tomllib.loads(statement)
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        pointer += f"/{escape_pointer(key)}"
    return pointer
