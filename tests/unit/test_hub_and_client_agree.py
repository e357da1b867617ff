"""What the hub accepts for a build, the settings model of that build accepts: generated models and documents.

Not told by a schema, and so found out by the service alone: how many digits a decimal has, that a whole number must not
be written as a fraction (`2.0`) or have thousands of digits, the host of a URL, and what validators look at.
"""

import datetime
import ipaddress
import json
import uuid
from collections import Counter
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, create_model

from central_hub.validation.consumer_worker import ConsumerWorker
from central_hub_client.binding import Refused
from central_hub_client.model_binding import ModelBinding


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


KINDS: list[Any] = [
    *(bool, int, float, str, bytes, Decimal, uuid.UUID, Colour, Any, Literal["a", 1, None]),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
    *(ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network),
    *(set[int], frozenset[str], tuple[int, str], dict[int, int], list[float], float | None),
    Annotated[dict[Annotated[str, Field(pattern="^[a-c]$")], int], Field(max_length=2)],
    Annotated[int, Field(ge=-3, lt=10, multiple_of=2)],
    Annotated[float, Field(gt=0, le=5)],
    Annotated[Decimal, Field(decimal_places=2)],
    Annotated[str, Field(min_length=1, max_length=3)],
    Annotated[str, Field(pattern=r"^\d+$")],
    Annotated[str, Field(pattern=r"^\w+\s?$")],
    Annotated[list[int], Field(min_length=1, max_length=2)],
]
TEXTS = [
    *(" ", "a", "red", "ab c", "1", "5", "1.5", "-0", "1e3", "NaN", "inf", "abcd", "12345", "a\n", "1\n", "\u0661"),
    *("2026-01-31", "2026-02-30", "2026-01-31T10:00:00Z", "10:00", "25:00:00", "10:00:00Z", "P1D", "PT-1H"),
    *("10.0.0.1", "300.1.1.1", "::1", "::/8", "10.0.0.0/8", "10.0.0.1/8", str(uuid.UUID(int=5)), "\U0001f600"),
]
VALUES: list[Any] = [
    *(None, True, False, 0, 2, -4, 11, 2.5, -0.5, 10**20, "", *TEXTS),
    *([], [1], [1, 1], [1, "a"], ["a"], [1, 2, 3], {}, {"a": 1}, {"1": 1}, {"a": 1, "d": 2}, {"a": "x"}),
]
WORKER = ConsumerWorker()


def is_accepted(binding: ModelBinding[Any], document: dict[str, Any]) -> bool:
    """Whether the hub accepts it, in which case the model must."""
    schemas = json.dumps([json.dumps(binding.json_schema)]).encode()
    (verdict,) = WORKER.answer(schemas, {"document": document, "supplied": [[]]})["verdicts"]
    if verdict.get("violations") != []:
        return False
    assert binding.shape is not None
    fitted, _ = binding.shape.fit(document)
    try:
        binding.bind(fitted)
    except Refused as refused:
        raise AssertionError(f"{document} is accepted for {json.dumps(binding.json_schema)}") from refused
    return True


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_value_that_the_hub_accepts_the_model_accepts(kind: Any) -> None:
    binding = ModelBinding(create_model("Model", x=(kind, ...)))
    accepted = Counter(is_accepted(binding, {"x": value}) for value in VALUES)
    assert accepted[True]
    assert accepted[False] or kind is Any


NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def models(draw: st.DrawFn, kinds: st.SearchStrategy[Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name in draw(st.lists(NAMES, unique=True, min_size=1)):
        kind = draw(kinds)
        fields[name] = draw(st.sampled_from([(kind, ...), (kind, None), (list[kind], ...), (dict[str, kind], ...)]))  # type: ignore[valid-type]
    return create_model(
        "Model", __config__=ConfigDict(extra=draw(st.sampled_from(["ignore", "forbid", "allow"]))), **fields
    )


def documents(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(NAMES, values | st.lists(values, max_size=2) | st.dictionaries(NAMES, values, max_size=2))


# Always the same ones: a rare find must not fail whoever comes by.
@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    models(st.recursive(st.sampled_from(KINDS), models, max_leaves=3)),
    st.lists(documents(st.recursive(st.sampled_from(VALUES), documents, max_leaves=4)), min_size=5, max_size=10),
)
def test_a_document_that_the_hub_accepts_the_model_accepts(model: type[BaseModel], tried: list[dict[str, Any]]) -> None:
    binding = ModelBinding(model)
    for document in tried:
        is_accepted(binding, document)
