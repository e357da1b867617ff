"""Real schemas with documents that satisfy them and documents that do not.

`schemastore.jsonl.xz` is taken from the test data of the SchemaStore project (Apache License 2.0,
https://github.com/SchemaStore/schemastore): one JSON object a line, `{service, schema, valid, invalid}`, where the
last two are lists of `{name, document}`.
"""

import json
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_suffix(".jsonl.xz")


@dataclass(frozen=True)
class Example:
    """A schema, what it accepts and what it refuses: documents by name."""

    service: str
    schema: dict[str, Any]
    valid: dict[str, dict[str, Any]]
    invalid: dict[str, dict[str, Any]]


def examples() -> Iterator[Example]:
    """All of them; each has a service of its own."""
    with lzma.open(_FILE, "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            yield Example(
                re.sub("[^a-z0-9]+", "-", entry["service"].lower()),
                entry["schema"],
                *({case["name"]: case["document"] for case in entry[kind]} for kind in ("valid", "invalid")),
            )
