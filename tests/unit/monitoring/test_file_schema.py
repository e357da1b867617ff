"""The JSON Schema for editors says of a file what the hub says, as far as a schema can."""

from typing import Any

import jsonschema_rs
import pytest

from central_hub.monitoring.file_schema import file_schema
from central_hub_client.strict_yaml import parse
from tests.unit.monitoring.infrastructure_text import EXAMPLE

CHECKED = jsonschema_rs.validator_for(file_schema())


def written(text: str) -> Any:
    return parse(f"version: 1\n{text}".encode())[0]


def test_the_example_as_it_is_written_fits() -> None:
    assert [str(error) for error in CHECKED.iter_errors(parse(EXAMPLE)[0])] == []


@pytest.mark.parametrize(
    "text",
    [
        "databases:\n  a: {type: redis, host: h, port: '${PORT:-6379}', probe: {failures: '${F}'}}",
        "databases:\n  a: {type: redis, password: {$secret: 'file:///run/x'}}",
        "alerts: {channels: {a: {type: apprise, url: '${URL}'}}}",
        "alerts: {channels: {a: {type: webhook, url: 'https://h', secret: ['${A}', '${B}']}}}",
    ],
)
def test_a_variable_and_a_reference_may_stand_where_the_hub_takes_them(text: str) -> None:
    assert CHECKED.is_valid(written(text))


@pytest.mark.parametrize(
    "text",
    [
        "nodes: {}",
        "databases:\n  a: {typ: redis}",
        "databases:\n  a: {type: redis, port: '6379'}",
        "databases:\n  a: {type: redis, password: literal}",
        "databases:\n  a: {type: redis, password: '${A:-b}'}",
        "services: {a: {b: often}}",
        "alerts: {channels: {a: {type: apprise, url: 'mailto://x'}}}",
        "alerts: {rules: {a: {severity: bad}}}",
    ],
)
def test_what_the_hub_refuses_by_its_shape_the_schema_refuses(text: str) -> None:
    assert not CHECKED.is_valid(written(text))
