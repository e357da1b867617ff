"""What came from somewhere else, made safe to show: nothing in it moves the cursor or clears the screen. Pure.

Escape sequences, line feeds and characters that reverse the direction of text are spelled out. Names, reasons and
values are written by people we do not know, and a line of a log or a table must stay one line.
"""

import json
from typing import Any, Final

_ELLIPSIS: Final = "…"


def visible(text: str, *, width: int | None = None) -> str:
    """The text on one line, with everything that does not print spelled out, cut to `width` characters."""
    shown = text if text.isprintable() else "".join(map(_spelled, text))
    if width is not None and len(shown) > width:
        return shown[: width - 1] + _ELLIPSIS
    return shown


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON that says the same and prints safely: what does not print is escaped as JSON escapes it."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    if text.isprintable():
        return text
    # The line feeds and spaces between values are ours: those within strings were escaped by the encoder.
    return "".join(
        character if character == "\n" or character.isprintable() else _json_escape(character) for character in text
    )


def short(value: Any, *, width: int = 60) -> str:
    """The value as one line of JSON, cut where it is long."""
    return visible(json_text(value), width=width)


def _spelled(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
