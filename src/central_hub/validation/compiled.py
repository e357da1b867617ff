"""A JSON Schema compiled, and what it finds wrong with documents. Pure, but may take long or more stack than there is.

Only what nobody waits for and nobody misses may call this: the worker's process.
"""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from jsonschema_rs import (
    Draft4Validator,
    Draft7Validator,
    Draft202012Validator,
    FancyRegexOptions,
    RegexOptions,
    ValidationError,
    Validator,
)
from jsonschema_rs import is_valid as is_valid_for

from central_hub.validation.pointers import pointer
from central_hub.validation.references import is_reference
from central_hub.validation.schema import (
    Schema,
    Unusable,
    declared,
    refuse_endless_expansion,
    refuse_foreign_references,
    subschemas,
)
from central_hub.validation.violations import Violation, of_schema, violations

BACKTRACK_LIMIT: Final = 10_000
SECRET: Final = "x-secret"  # noqa: S105 - the keyword

_DRAFT_2020: Final = "https://json-schema.org/draft/2020-12/schema"
_DRAFTS: Final[dict[str, tuple[str, type[Validator]]]] = {
    "json-schema.org/draft/2020-12/schema": (_DRAFT_2020, Draft202012Validator),
    "json-schema.org/draft-07/schema": ("http://json-schema.org/draft-07/schema#", Draft7Validator),
    "json-schema.org/draft-04/schema": ("http://json-schema.org/draft-04/schema#", Draft4Validator),
}
_LINEAR: Final = RegexOptions()
_BACKTRACKING: Final = FancyRegexOptions(backtrack_limit=BACKTRACK_LIMIT)
_Engine = RegexOptions | FancyRegexOptions


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schema that documents can be held against."""

    validator: Validator
    names: frozenset[str]
    patterns: Validator | None

    def violations(self, document: Any, inherited: Iterable[str] = ()) -> list[Violation]:
        """What is wrong with a document. Keys in `inherited` that the schema does not declare are ignored."""
        undeclared = {key for key in inherited if not self._declares(key)}
        if undeclared:
            document = {key: value for key, value in document.items() if key not in undeclared}
        # Whether is known much sooner than what: and most documents are as they should be.
        return [] if self.validator.is_valid(document) else violations(self.validator.iter_errors(document), document)

    def _declares(self, key: str) -> bool:
        return key in self.names or (self.patterns is not None and self.patterns.is_valid(key))


def compile_schema(schema: Schema) -> Compiled:
    """Make a schema ready. Raises Unusable. What is given belongs to the compiled schema from now on."""
    uri, draft = _draft(schema)
    refuse_foreign_references(schema)
    refuse_endless_expansion(schema)
    _mark_secrets(schema)
    # Linear where that is enough: only look-around and references back need the engine that may go back.
    engine: _Engine = _LINEAR
    schema = {**schema, "$schema": uri}
    try:
        validator = _build(draft, schema, engine)
    except ValidationError:
        engine = _BACKTRACKING
        try:
            validator = _build(draft, schema, engine)
        except ValidationError as error:
            raise _unusable(error) from error
    names, patterns = declared(schema)
    any_pattern = {"$schema": _DRAFT_2020, "anyOf": [{"pattern": pattern} for pattern in patterns]}
    return Compiled(validator, names, _build(Draft202012Validator, any_pattern, engine) if patterns else None)


class _Secret:
    """The keyword `x-secret`: with `true`, only a reference may stand there."""

    def __init__(self, _parent: Schema, value: Any, _path: list[str | int]) -> None:
        self._applies = value is True

    def validate(self, instance: Any) -> None:
        if self._applies and instance is not None and not is_reference(instance):
            raise ValueError("a secret stands here in the clear")


def _build(draft: type[Validator], schema: Schema, engine: _Engine) -> Validator:
    return draft(
        schema,
        offline=True,
        mask="a value",
        pattern_options=engine,
        # In every draft: whoever writes a format down means it.
        validate_formats=True,
        formats=_FORMATS,
        keywords={SECRET: _Secret},
    )


def _is_of_format(name: str, text: str) -> bool:
    return is_valid_for({"format": name}, text, validate_formats=True, pattern_options=_BACKTRACKING, offline=True)


def _is_read_by(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


_OF_SETTINGS_MODELS: Final[dict[str, Callable[[str], object]]] = {
    "ipvanyaddress": ipaddress.ip_address,
    "ipvanyinterface": ipaddress.ip_interface,
    "ipvanynetwork": ipaddress.ip_network,
    "ipv4interface": ipaddress.IPv4Interface,
    "ipv4network": ipaddress.IPv4Network,
    "ipv6interface": ipaddress.IPv6Interface,
    "ipv6network": ipaddress.IPv6Network,
}
"""Formats that JSON Schema does not know, and that models of Pydantic declare."""

_FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    # `regex`: for the engine that knows more. The others: as 2020-12 has them, for the drafts that came before them.
    **{name: partial(_is_of_format, name) for name in ("regex", "duration", "uuid")},
    **{name: partial(_is_read_by, parse) for name, parse in _OF_SETTINGS_MODELS.items()},
}


def _draft(schema: Schema) -> tuple[str, type[Validator]]:
    named = schema.get("$schema", _DRAFT_2020)
    found = _DRAFTS.get(named.partition("://")[2].removesuffix("#")) if isinstance(named, str) else None
    if found is None:
        raise Unusable("/$schema", "must name JSON Schema 2020-12, draft-07 or draft-04; left out, it is 2020-12")
    return found


def _mark_secrets(schema: Schema) -> None:
    # How Pydantic spells a SecretStr.
    for _, subschema in subschemas(schema):
        if subschema.get("format") == "password" and subschema.get("writeOnly") is True:
            subschema.setdefault(SECRET, True)


def _unusable(error: ValidationError) -> Unusable:
    keyword, sentence = of_schema(error)
    return Unusable(pointer(error.instance_path), f"{sentence} ({keyword})")
