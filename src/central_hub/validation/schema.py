"""The places in a JSON Schema where schemas stand, and what can be told from them without a document. Pure."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from central_hub.validation.pointers import token

Schema = dict[str, Any]

MAX_EXPANSION: Final = 20_000
"""Schemas that one value may be held against, once every reference is followed."""

_DATA: Final = frozenset({"const", "default", "enum", "example", "examples"})
"""Keywords whose values are data: a `$ref` in there refers to nothing."""
_NAMED: Final = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)
"""Keywords whose values are schemas by name."""
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_SAME_VALUE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SAME_VALUE: Final = ("not", "if", "then", "else")
_SAME_VALUE_NAMED: Final = ("dependentSchemas", "dependencies")


class Unusable(Exception):
    """A schema that cannot be used: where in it, and a sentence that says why."""

    def __init__(self, pointer: str, sentence: str, *, exceeds_limit: bool = False) -> None:
        super().__init__(sentence)
        self.pointer = pointer
        self.sentence = sentence
        self.exceeds_limit = exceeds_limit


def subschemas(schema: Any) -> Iterator[tuple[str, Schema]]:
    """Every object in a schema that may be a schema itself, with its JSON Pointer; unknown keywords may hold some."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, list):
            waiting += [(f"{pointer}/{index}", item) for index, item in enumerate(value)]
        elif isinstance(value, dict):
            yield pointer, value
            for key, item in value.items():
                inside = f"{pointer}/{token(key)}"
                if key in _NAMED and isinstance(item, dict):
                    waiting += [(f"{inside}/{token(name)}", named) for name, named in item.items()]
                elif key not in _DATA:
                    waiting.append((inside, item))


def refuse_foreign_references(schema: Schema) -> None:
    """Raise Unusable for a reference to anything but a place in the schema itself."""
    for pointer, subschema in subschemas(schema):
        for keyword in _REFERENCES:
            target = subschema.get(keyword)
            if isinstance(target, str) and _fragment(schema, target) is None:
                raise Unusable(
                    f"{pointer}/{keyword}",
                    f"refers to {target[:200]!r}: a reference must stay inside the schema (#/…); put what it refers to"
                    " under $defs",
                )


def refuse_endless_expansion(schema: Schema) -> None:
    """Raise Unusable where references multiply the schemas that one value is held against."""
    counted: dict[int, int] = {}

    def count(value: Any) -> int:
        if not isinstance(value, dict):
            return 1
        known = counted.get(id(value))
        if known is None:
            # One that comes back to itself without going into the value adds nothing the second time.
            counted[id(value)] = 1
            known = 1 + sum(map(count, _held_against_the_same_value(schema, value)))
            counted[id(value)] = known
        return known

    for pointer, subschema in subschemas(schema):
        try:
            expanded = count(subschema)
        except RecursionError as error:
            raise Unusable(pointer, "its references lead too far", exceeds_limit=True) from error
        if expanded > MAX_EXPANSION:
            raise Unusable(
                pointer,
                f"its references multiply: one value would be held against more than {MAX_EXPANSION} schemas",
                exceeds_limit=True,
            )


def declared(schema: Schema) -> tuple[frozenset[str], tuple[str, ...]]:
    """The keys that a schema speaks of in the value itself: by name, and by pattern."""
    names: set[str] = set()
    patterns: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if not isinstance(value, dict) or id(value) in seen:
            continue
        seen.add(id(value))
        names.update(_keys(value.get("properties")))
        names.update(name for name in _items(value.get("required")) if isinstance(name, str))
        patterns.update(_keys(value.get("patternProperties")))
        waiting += _held_against_the_same_value(schema, value)
    return frozenset(names), tuple(sorted(patterns))


def _held_against_the_same_value(root: Schema, schema: Schema) -> list[Any]:
    found = [item for keyword in _SAME_VALUE_LISTS for item in _items(schema.get(keyword))]
    found += [schema[keyword] for keyword in _SAME_VALUE if keyword in schema]
    for keyword in _SAME_VALUE_NAMED:
        named = schema.get(keyword)
        found += named.values() if isinstance(named, dict) else ()
    for keyword in _REFERENCES:
        target = schema.get(keyword)
        if isinstance(target, str):
            found.append(_at(root, target))
    return found


def _fragment(root: Schema, reference: str) -> str | None:
    """The place in the schema that a reference names: a pointer or an anchor. None where it names another document.

    A schema that has a name may call itself by it.
    """
    document, _, fragment = reference.partition("#")
    own = root.get("$id", root.get("id"))
    is_own = isinstance(own, str) and document == own.partition("#")[0]
    return fragment if is_own or not document else None


def _at(root: Schema, reference: str) -> Any:
    """What a reference stands for; None where it is not found so easily (anchors, names inside)."""
    pointer = unquote(_fragment(root, reference) or "")
    if pointer and not pointer.startswith("/"):
        return None
    value: Any = root
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []
