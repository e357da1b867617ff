"""From a validator's errors to places and sentences. Pure. No sentence has a value of the document in it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from jsonschema_rs import ValidationError, ValidationErrorKind

from central_hub.validation.pointers import pointer, touches
from central_hub.validation.references import is_reference, lies_in_a_reference

MAX_VIOLATIONS: Final = 100
_MAX_SHOWN: Final = 200
_MAX_OPTIONS: Final = 10

Kind = ValidationErrorKind


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that a schema finds wrong: where, by which keyword, and a sentence."""

    pointer: str
    keyword: str
    message: str


def violations(errors: Iterable[ValidationError], document: Any, supplied: Sequence[str] = ()) -> list[Violation]:
    """The first hundred. What a reference to a secret breaks does not count: it satisfies any schema.

    Nor is what lies at, around or under a pointer that is `supplied` from elsewhere missed here.
    """
    found = (violation for error in errors for violation in _violations(error, document, supplied))
    return list(islice(dict.fromkeys(found), MAX_VIOLATIONS))


def of_schema(error: ValidationError) -> tuple[str, str]:
    """The keyword and the sentence of what is wrong with a schema itself."""
    if isinstance(error.kind, Kind.Referencing):
        return error.kind.name, error.message[:_MAX_SHOWN]  # names the reference
    return error.kind.name, _sentence(error)


def _violations(error: ValidationError, document: Any, supplied: Sequence[str]) -> Iterator[Violation]:
    if _is_excused(error, document, supplied):
        return
    path = error.instance_path
    match error.kind:
        case Kind.AdditionalProperties(unexpected=names) | Kind.UnevaluatedProperties(unexpected=names):
            for name in names:
                if not (isinstance(error.kind, Kind.UnevaluatedProperties) and _holds_reference(document, path, name)):
                    yield Violation(pointer([*path, name]), error.kind.name, "is a key that the schema does not allow")
        case Kind.UnevaluatedItems(unexpected=places):
            for place in places:
                yield Violation(pointer([*path, place]), error.kind.name, "is an item that the schema does not allow")
        case Kind.AnyOf(context=branches) | Kind.OneOfNotValid(context=branches):
            # An optional secret is an alternative to null: what is wrong is that it is one.
            secrets = [inner for branch in branches for inner in branch if isinstance(inner.kind, Kind.Custom)]
            for wrong in secrets or [error]:
                yield Violation(pointer(wrong.instance_path), wrong.kind.name, _sentence(wrong))
        case _:
            yield Violation(pointer(path), error.kind.name, _sentence(error))


def _is_excused(error: ValidationError, document: Any, supplied: Sequence[str]) -> bool:
    if lies_in_a_reference(document, error.instance_path):
        return True
    match error.kind:
        case Kind.AnyOf(context=branches) | Kind.OneOfNotValid(context=branches):
            return any(
                branch and all(_is_excused(inner, document, supplied) for inner in branch) for branch in branches
            )
        case Kind.Required(property=name):
            missing = pointer([*error.instance_path, name])
            return any(touches(missing, key) for key in supplied)
        case Kind.Contains():
            value = document
            for step in error.instance_path:
                value = value[step]
            return any(map(is_reference, value))
    return False


def _holds_reference(document: Any, path: list[str | int], name: str) -> bool:
    return lies_in_a_reference(document, [*path, name])


def _sentence(error: ValidationError) -> str:
    kind = error.kind
    match kind:
        case Kind.Type(types=types):
            return f"must be {' or '.join(_typed(name) for name in types)}"
        case Kind.Required(property=name):
            return f"lacks the key {_shown(name)}"
        case Kind.Enum(options=options):
            return f"must be one of {_listed(options)}"
        case Kind.Constant(expected_value=value):
            return f"must be {_shown(value)}"
        case Kind.Minimum(limit=limit):
            return f"must be {limit} or more"
        case Kind.Maximum(limit=limit):
            return f"must be {limit} or less"
        case Kind.ExclusiveMinimum(limit=limit):
            return f"must be more than {limit}"
        case Kind.ExclusiveMaximum(limit=limit):
            return f"must be less than {limit}"
        case Kind.MultipleOf(multiple_of=factor):
            return f"must be a multiple of {factor}"
        case Kind.MinLength(limit=limit):
            return f"must have {_counted(limit, 'character')} or more"
        case Kind.MaxLength(limit=limit):
            return f"must have {_counted(limit, 'character')} at most"
        case Kind.MinItems(limit=limit):
            return f"must have {_counted(limit, 'item')} or more"
        case Kind.MaxItems(limit=limit) | Kind.AdditionalItems(limit=limit):
            return f"must have {_counted(limit, 'item')} at most"
        case Kind.MinProperties(limit=limit):
            return f"must have {_counted(limit, 'key')} or more"
        case Kind.MaxProperties(limit=limit):
            return f"must have {_counted(limit, 'key')} at most"
        case Kind.Pattern(pattern=pattern):
            return f"must match the pattern {_shown(pattern)}"
        case Kind.Format(format=name):
            return f"must be of the format {_shown(name)}"
        case Kind.UniqueItems():
            return "must not have the same item twice"
        case Kind.Contains():
            return "must have an item that the schema describes, and has none or not as many"
        case Kind.PropertyNames(error=inner):
            return f"has a key that the schema does not allow: it {_sentence(inner)}"
        case Kind.FalseSchema():
            return "is nothing that the schema allows"
        case Kind.Not():
            return "is what the schema excludes"
        case Kind.AnyOf(context=branches) | Kind.OneOfNotValid(context=branches):
            return f"fits none of the {len(branches)} alternatives{_nearest(error.instance_path, branches)}"
        case Kind.OneOfMultipleValid():
            return "fits more than one of the alternatives, of which it must fit one"
        case Kind.BacktrackLimitExceeded() | Kind.RegexEngineFailure():
            return "takes too many steps to hold against a pattern of the schema: simplify the pattern"
        case Kind.Custom(message=message):
            return f'must be a reference, {{"$secret": "env://NAME"}}: {message}'
        case _:
            return f"does not satisfy the keyword {kind.name}"


def _nearest(path: list[str | int], branches: list[list[ValidationError]]) -> str:
    """What the alternative with the fewest errors, and of those the one that got furthest, finds wrong."""
    wrong = [branch for branch in branches if branch]
    if not wrong:
        return ""
    nearest = min(wrong, key=lambda branch: (len(branch), -max(len(error.instance_path) for error in branch)))
    first = nearest[0]
    names = getattr(first.kind, "unexpected", None)
    if names:
        place, sentence = [*first.instance_path, names[0]], "is not allowed there"
    else:
        place, sentence = first.instance_path, _sentence(first)
    inside = pointer(place[len(path) :])
    return f"; for the nearest one it {sentence}" if not inside else f"; for the nearest one {inside} {sentence}"


_TYPES: Final = {"object": "an object", "array": "a list", "integer": "an integer", "null": "null"}


def _typed(name: str) -> str:
    return _TYPES.get(name, f"a {name}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _listed(options: list[Any]) -> str:
    listed = ", ".join(_shown(option) for option in options[:_MAX_OPTIONS])
    more = len(options) - _MAX_OPTIONS
    return f"{listed} and {more} others" if more > 0 else listed


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
