"""What a settings model declares, as its JSON Schema says it: which keys, whether text fits, what is secret. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final, Self

from central_hub_client.layers import leaves

OTHER_NAMES: Final = "x-other-names"
"""In an object's schema: further spellings of its keys, each with the one under `properties`."""

SECRET: Final = "x-secret"  # noqa: S105 - the name of a keyword

# Told apart first: asking an abstract class about every number makes this several times as slow.
_SCALARS: Final = (str, int, float, type(None))

_Schema = Mapping[str, Any]


class Shape:
    """What is declared at one place. Several subschemas (a union) declare what any of them does."""

    def __init__(self, root: _Schema, schemas: Iterable[_Schema] | None = None) -> None:
        self._root = root
        self._alternatives = tuple(self._expand([root] if schemas is None else schemas, frozenset()))
        self._children: dict[str, Self] = {}

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys declared by name, in every spelling."""
        return tuple(
            dict.fromkeys(
                key
                for schema in self._alternatives
                for key in (*schema.get("properties", ()), *schema.get(OTHER_NAMES, ()))
            )
        )

    @cached_property
    def _other_names(self) -> dict[str, str]:
        return {name: key for schema in self._alternatives for name, key in schema.get(OTHER_NAMES, {}).items()}

    @cached_property
    def _takes_objects(self) -> bool:
        return any(map(_is_object, self._alternatives))

    @cached_property
    def takes_text(self) -> bool:
        """Whether a string is among the types declared."""
        return any(_is_string(schema) for schema in self._alternatives)

    @cached_property
    def takes_anything(self) -> bool:
        """Whether nothing is said of what it is."""
        return any(map(_is_anything, self._alternatives))

    @cached_property
    def is_secret(self) -> bool:
        return any(map(_is_secret, self._alternatives))

    @cached_property
    def items(self) -> Self:
        """What is declared of a list's items."""
        found = []
        for schema in self._alternatives:
            found += [*schema.get("prefixItems", ()), *filter(_is_schema, [schema.get("items")])]
        return type(self)(self._root, found or [{}])

    def spelled(self, key: str) -> str:
        """The key as `properties` spells it."""
        return self._other_names.get(key, key)

    def child(self, key: str) -> Self | None:
        """What is declared under `key`, None where nothing takes it."""
        if key not in self._named:
            return self._further
        if key not in self._children:
            found = [taken for schema in self._alternatives if (taken := _under(schema, key)) is not None]
            self._children[key] = type(self)(self._root, found)
        return self._children[key]

    @cached_property
    def _named(self) -> frozenset[str]:
        return frozenset(self.keys)

    @cached_property
    def _further(self) -> Self | None:
        """What is declared of every key that is not declared by name."""
        found = [taken for schema in self._alternatives if (taken := _further(schema)) is not None]
        return type(self)(self._root, found) if found else None

    def fit(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[tuple[str, ...], ...]]:
        """`values` without what is not declared, at every depth, keys spelled as declared; and the paths of what was
        left out."""
        unknown: list[tuple[str, ...]] = []
        fitted = self._fit_object(values, (), unknown)
        return fitted, tuple(sorted(unknown))

    def has_secret(self, path: Iterable[str]) -> bool:
        """Whether the value at `path`, or anything around it, is declared secret."""
        shape: Shape | None = self
        for key in path:
            if shape is None or shape.is_secret:
                break
            child = shape.child(key)
            shape = shape.items if child is None and key.isdigit() else child
        return shape is not None and shape.is_secret

    @cached_property
    def has_any_secret(self) -> bool:
        """Whether the model declares a secret anywhere."""
        waiting: list[Any] = [self._root]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Mapping):
                if _is_secret(part):
                    return True
                waiting.extend(part.values())
            elif isinstance(part, list):
                waiting.extend(part)
        return False

    def _fit(self, value: Any, path: tuple[str, ...], unknown: list[tuple[str, ...]]) -> Any:
        if isinstance(value, _SCALARS):
            return value
        if isinstance(value, Mapping):
            return self._fit_object(value, path, unknown)
        if isinstance(value, list) and not all(isinstance(item, _SCALARS) for item in value):
            return [self.items._fit(item, (*path, str(index)), unknown) for index, item in enumerate(value)]
        return value

    def _fit_object(
        self, values: Mapping[str, Any], path: tuple[str, ...], unknown: list[tuple[str, ...]]
    ) -> dict[str, Any]:
        if not self._takes_objects:
            return dict(values)  # of a wrong type altogether: for the model to refuse
        fitted: dict[str, Any] = {}
        for written, value in values.items():
            key = self._other_names.get(written, written)
            child = self.child(key)
            if child is None:
                unknown.extend(leaf for leaf, _ in leaves(value, (*path, key)))
            elif key != written and key in values:
                continue  # given in two spellings: the usual one counts
            elif isinstance(value, _SCALARS):
                fitted[key] = value
            else:
                fitted[key] = child._fit(value, (*path, key), unknown)
        return fitted

    def _expand(self, schemas: Iterable[_Schema], seen: frozenset[str]) -> Iterator[_Schema]:
        """Plain subschemas: references followed, unions taken apart."""
        for schema in schemas:
            target = schema.get("$ref")
            if isinstance(target, str) and target.startswith("#/") and target not in seen:
                yield from self._expand([_look_up(self._root, target)], seen | {target})
            for word in ("anyOf", "oneOf", "allOf"):
                yield from self._expand(filter(_is_schema, schema.get(word, ())), seen)
            if target is None and not {"anyOf", "oneOf", "allOf"} & schema.keys():
                yield schema
            elif schema.get(SECRET) is True:
                yield {SECRET: True, "type": "never"}


def _look_up(root: _Schema, reference: str) -> _Schema:
    found: Any = root
    for token in reference.removeprefix("#/").split("/"):
        found = found[token.replace("~1", "/").replace("~0", "~")]
    return found if _is_schema(found) else {}


def _under(schema: _Schema, key: str) -> _Schema | None:
    properties = schema.get("properties", {})
    if key not in properties:
        return _further(schema)
    found = properties[key]
    return found if _is_schema(found) else {}


def _further(schema: _Schema) -> _Schema | None:
    """Of keys that are not under `properties`. Patterns are not held against keys: the model does that."""
    if not _is_object(schema):
        return None
    for word in ("patternProperties", "additionalProperties"):
        found = schema.get(word)
        if found is True:
            return {}
        if _is_schema(found) and found:
            return {"anyOf": list(found.values())} if word == "patternProperties" else found
    return None if "properties" in schema or schema.get("additionalProperties") is False else {}


def _is_object(schema: _Schema) -> bool:
    if "properties" in schema or "additionalProperties" in schema:
        return True
    kinds = schema.get("type")
    return "object" in ([kinds] if isinstance(kinds, str) else kinds or ()) or _is_anything(schema)


def _is_anything(schema: _Schema) -> bool:
    return not {"type", "enum", "const"} & schema.keys()


def _is_secret(schema: _Schema) -> bool:
    return schema.get(SECRET) is True or (schema.get("format") == "password" and schema.get("writeOnly") is True)


def _is_string(schema: _Schema) -> bool:
    kinds = schema.get("type")
    if kinds is not None:
        return "string" in ([kinds] if isinstance(kinds, str) else kinds)
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return any(isinstance(choice, str) for choice in choices)


def _is_schema(value: Any) -> bool:
    return isinstance(value, Mapping)
