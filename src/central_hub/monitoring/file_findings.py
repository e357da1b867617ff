"""What Pydantic finds wrong, as sentences for whoever wrote the file. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from central_hub.monitoring.fault import Fault, Path, quoted

_SENTENCES: Final[Mapping[str, str | Callable[[Mapping[str, Any]], str]]] = {
    "string_type": "must be text: put it in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping, with keys and values",
    "model_type": "must be a mapping, with keys and values",
    "model_attributes_type": "must be a mapping, with keys and values",
    "enum": lambda context: f"must be {context['expected']}",
    "literal_error": lambda context: f"must be {context['expected'].lower()}",
    "greater_than": lambda context: f"must be more than {context['gt']}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than": lambda context: f"must be less than {context['lt']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "too_short": lambda context: f"must have at least {context['min_length']} items",
    "string_too_short": "must not be empty",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "string_pattern_mismatch": lambda context: f"must be written as {context['pattern']}",
    "union_tag_invalid": lambda context: f"must be one of {context['expected_tags']}",
    "union_tag_not_found": "the key `type` is missing",
    "finite_number": "must be a number",
    "refused": lambda context: str(context["sentence"]),
}


def findings(error: ValidationError, document: Mapping[str, Any]) -> Iterator[Fault]:
    """Every finding with its path in the document."""
    for found in error.errors(include_url=False, include_input=False):
        yield _fault(found, document)


def _fault(found: ErrorDetails, document: Mapping[str, Any]) -> Fault:
    location, kind = found["loc"], found["type"]
    is_of_key = bool(location) and location[-1] == "[key]"
    path = _path(location[:-1] if is_of_key else location, document)
    if kind == "missing":
        return Fault(path, f"the key {quoted(str(location[-1]))} is missing", is_of_key=True)
    if kind == "union_tag_invalid":
        path = (*path, "type")
    said = _SENTENCES.get(kind)
    if said is None:
        said = found["msg"].replace("Input should", "should")
    context = found.get("ctx", {})
    return Fault(path, said if isinstance(said, str) else said(context), is_of_key)


def _path(location: tuple[str | int, ...], document: Any) -> Path:
    """The steps that the document has: others are Pydantic's own, such as the type of a channel, or keys that are
    missing."""
    path: list[str | int] = []
    here = document
    for step in location:
        is_there = step in here if isinstance(here, dict) else isinstance(here, list) and isinstance(step, int)
        if is_there:
            path.append(step)
            here = here[step]
    return tuple(path)
