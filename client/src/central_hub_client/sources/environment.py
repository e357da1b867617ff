"""Environment variables as a layer. The one naming rule:

`<SERVICE>_` in upper case with `-` written `_`, then the keys in upper case, joined by `__`:
`ORDERS_OPERATIONAL__BATCH_SIZE` is `operational.batch_size` of the service `orders`.

The prefix of `orders` is also the beginning of every variable of `orders-archive`, so a prefix alone makes nothing
ours. What follows it counts if its first key is known: declared by the settings model, or present in another layer.
An unknown first key counts if it is one word. `ORDERS_ARCHIVE_TIMEOUT` is therefore read by `orders` only where it has
a key `archive_timeout` of its own. Variables that configure the client itself (`CENTRAL_HUB_…`) never count.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from central_hub_client import strict_json
from central_hub_client.declared import Shape
from central_hub_client.sources import Loaded
from central_hub_client.strict_json import escape_pointer


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable under the prefix: its name, the keys as written in it, and its text."""

    name: str
    keys: tuple[str, ...]
    text: str = field(repr=False)


def variables() -> Mapping[str, str]:
    """The process's environment. The only place of the client where it is read, but for the client's settings."""
    return os.environ


def prefix_of(service: str) -> str:
    return service.upper().replace("-", "_") + "_"


def candidates(service: str, environ: Mapping[str, str]) -> tuple[Variable, ...]:
    """The variables that may be the service's by their prefix, sorted by name."""
    prefix = prefix_of(service)
    found = []
    for name in sorted(environ):
        keys = tuple(name.removeprefix(prefix).split("__"))
        if name.startswith(prefix) and not name.startswith("CENTRAL_HUB_") and all(keys) and name.isupper():
            found.append(Variable(name, keys, environ[name]))
    return tuple(found)


def read(found: tuple[Variable, ...], shape: Shape | None, known: Mapping[str, Any]) -> Loaded:
    """The values of those that count. `shape` is what the model declares, `known` what all other layers say."""
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for variable in found:
        path, at = _path(variable.keys, shape, known)
        if path is None:
            continue
        inner = values
        for key in path[:-1]:
            below = inner.get(key)
            if not isinstance(below, dict):
                below = inner[key] = {}
            inner = below
        inner[path[-1]] = _typed(variable.text, at)
        pointer = "".join(f"/{escape_pointer(key)}" for key in path)
        places[pointer] = variable.name
    return Loaded(values, places)


def _path(
    keys: tuple[str, ...], shape: Shape | None, known: Mapping[str, Any]
) -> tuple[tuple[str, ...] | None, Shape | None]:
    """The keys as the model or the other layers spell them, None where the variable is not ours; and what is declared
    there."""
    path: list[str] = []
    level: Any = known
    for written in keys:
        declared = None if shape is None else _spelled(written, shape.keys)
        present = _spelled(written, level) if isinstance(level, Mapping) else None
        key = declared or present
        if key is None and not path and "_" in written:
            return None, None
        path.append(shape.spelled(declared) if shape is not None and declared is not None else key or written.lower())
        shape = None if shape is None else shape.child(path[-1])
        level = level.get(path[-1]) if isinstance(level, Mapping) else None
    return tuple(path), shape


def _spelled(written: str, keys: Any) -> str | None:
    for key in keys:
        if key.upper().replace("-", "_") == written:
            return str(key)
    return None


def _typed(text: str, shape: Shape | None) -> Any:
    """Where text is declared, the text; else what it spells as JSON, else the text."""
    if shape is not None and shape.takes_text:
        return text
    try:
        return strict_json.parse(text.encode(errors="replace"))
    except ValueError:
        return text
