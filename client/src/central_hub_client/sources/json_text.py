"""JSON with the line of each key. The strict parser reads; a scan of the text it has accepted finds the lines."""

import json
import re
from typing import Any, Final

from central_hub_client import strict_json
from central_hub_client.strict_json import escape_pointer

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:\n]')


def read_json(content: bytes) -> tuple[Any, dict[str, int]]:
    """The value, and for the JSON Pointer of each key its line. Raises ValueError."""
    value = strict_json.parse(content)
    return value, _lines(content.decode())


def _lines(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    containers: list[str | None] = []  # the pointer of each open object; None for a list and for what is inside one
    here: str | None = ""
    line, string, string_line = 1, "", 1
    for match in _TOKEN.finditer(text):
        match match[0]:
            case "\n":
                line += 1
            case "{":
                containers.append(here)
            case "[":
                containers.append(None)
                here = None
            case "}" | "]":
                containers.pop()
                here = None
            case ":":
                container = containers[-1]
                here = None if container is None else f"{container}/{escape_pointer(json.loads(string))}"
                if here is not None:
                    found[here] = string_line
            case quoted:
                string, string_line = quoted, line
    return found
