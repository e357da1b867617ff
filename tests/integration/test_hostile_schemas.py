"""Schemas that are broken, or made to take all the time and memory there is: refused, and nobody else notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from central_hub.errors import InvalidRequest, LimitExceeded
from central_hub.validation.checker import SchemaChecker
from tests.conftest import RunningHub

Schema = dict[str, Any]
Document = dict[str, Any]


def encoded(schema: Schema) -> bytes:
    return json.dumps(schema).encode()


def doubling(steps: int) -> Schema:
    """Each definition holds a value against the next one twice."""
    definitions = {
        f"a{step}": {"allOf": [{"$ref": f"#/$defs/a{step + 1}"}, {"$ref": f"#/$defs/a{step + 1}"}]}
        for step in range(steps)
    }
    return {"$ref": "#/$defs/a0", "$defs": {**definitions, f"a{steps}": {"type": "object"}}}


def chain(length: int) -> Schema:
    definitions: Schema = {f"a{step}": {"$ref": f"#/$defs/a{step + 1}"} for step in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**definitions, f"a{length}": {"type": "object"}}}


def nested(depth: int) -> Document:
    document: Document = {}
    for _ in range(depth):
        document = {"x": document}
    return document


@pytest.fixture(scope="module")
async def checker() -> AsyncIterator[SchemaChecker]:
    running = SchemaChecker()
    yield running
    await running.stop()


async def outcome(checker: SchemaChecker, schema: Schema, document: Document) -> str:
    text = encoded(schema)
    try:
        await checker.compile(text)
        return "refuses" if await checker.check(text, document, inherited=[]) else "accepts"
    except (InvalidRequest, LimitExceeded) as error:
        return str(error.code)


@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/x", "https://json.example/x#/a", "file:///etc/passwd", "other.json", "//host/x", "/x"],
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
async def test_a_reference_out_of_the_schema_is_refused_by_its_place(
    checker: SchemaChecker, keyword: str, reference: str
) -> None:
    schema = {"properties": {"a/b": {"items": {keyword: reference}}}}
    with pytest.raises(InvalidRequest) as refused:
        await checker.compile(encoded(schema))
    assert [finding.pointer for finding in refused.value.errors] == [f"/properties/a~1b/items/{keyword}"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"properties": []},
        {"pattern": "("},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"$schema": "https://json-schema.org/draft/2019-09/schema"},
        {"$schema": 5},
        {"multipleOf": 0},
        {"$id": "not a uri %%"},
    ],
    ids=str,
)
async def test_what_is_no_schema_is_refused(checker: SchemaChecker, schema: Schema) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await checker.compile(encoded(schema))
    assert refused.value.errors


@pytest.mark.parametrize(
    ("schema", "document", "expected"),
    [
        ({"$ref": "#"}, {}, "accepts"),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, {}, "accepts"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, {}, "accepts"),
        (doubling(8), {}, "accepts"),
        (doubling(60), {}, "limit_exceeded"),
        (chain(40), {}, "accepts"),
        (chain(40_000), {}, "limit_exceeded"),
        ({"additionalProperties": {"anyOf": [{"$ref": "#"}] * 40}, "maxProperties": 1}, nested(28), "accepts"),
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 50_000 + "!"}, "refuses"),
        ({"properties": {"a": {"pattern": "^(?=((a|aa)+)b)"}}}, {"a": "a" * 60}, "refuses"),
        ({"properties": {"a": {"pattern": "(.{1,500}){1,5}x"}}}, {"a": "a" * 200_000}, "limit_exceeded"),
        (
            {"patternProperties": {f"(.{{1,400}}){{1,{n % 5 + 1}}}{'y' * n}": {} for n in range(300)}},
            {},
            "limit_exceeded",
        ),
        (
            {"additionalProperties": {"enum": [{"a": n} for n in range(20_000)]}},
            {f"k{n}": {"a": -1} for n in range(5_000)},
            "limit_exceeded",
        ),
        ({"properties": {"a": {"multipleOf": 1e-300}}}, {"a": 1e300}, "accepts"),
        ({"properties": {"a": {"maximum": 10**400}}}, {"a": 1}, "accepts"),
    ],
    ids=[
        "refers to itself",
        "refers to itself twice",
        "a loop of two",
        "few doublings",
        "many doublings",
        "a chain",
        "an endless chain",
        "many alternatives of itself",
        "a pattern for backtracking",
        "look-around",
        "a large pattern",
        "many large patterns",
        "a large enumeration",
        "tiny steps",
        "an enormous bound",
    ],
)
async def test_a_schema_that_could_take_for_ever_comes_to_an_end(
    checker: SchemaChecker, schema: Schema, document: Document, expected: str
) -> None:
    assert await outcome(checker, schema, document) == expected


async def test_what_doubles_with_the_depth_of_a_document_comes_to_an_end(checker: SchemaChecker) -> None:
    # Whether it is answered depends on what the validator remembers; that it ends does not.
    schema = {"properties": {"x": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
    assert await outcome(checker, schema, nested(28)) in ("accepts", "limit_exceeded")


async def test_a_worker_that_was_ended_is_replaced(checker: SchemaChecker) -> None:
    bomb = encoded({"properties": {"a": {"pattern": "(.{1,500}){1,5}x"}}})
    good = encoded({"required": ["a"]})
    asked = [checker.check(bomb, {"a": "a" * 200_000}, inherited=[]) for _ in range(4)]
    asked += [checker.check(good, {}, inherited=[]) for _ in range(4)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(answer, LimitExceeded) for answer in answers] == [True] * 4 + [False] * 4
    assert all(len(answer) == 1 for answer in answers[4:] if isinstance(answer, list))


ENORMOUS = {"properties": {"text": {"pattern": "(.{1,500}){1,5}x"}}}
"""Harmless where the text is short; more than a minute where it is long."""


async def set_key(hub: RunningHub, service: str, key: str, value: object, **fields: object) -> httpx2.Response:
    body = {"service": service, "config": {key: value}, "mode": "merge", **fields}
    return await hub.http.post("/api/v1/config/update", json=body)


async def test_a_hostile_schema_is_the_trouble_of_its_own_service(hub: RunningHub, service_name: str) -> None:
    hostile, victim = service_name, f"{service_name}-victim"
    registered = await hub.http.put(f"/api/v1/config/schema/{hostile}", json=ENORMOUS)
    assert registered.status_code == 200, registered.text
    attacks = [set_key(hub, hostile, "text", "a" * 200_000) for _ in range(3)]
    attacks += [set_key(hub, hostile, "text", "a" * 200_000, environment=f"e{n}") for n in range(3)]
    writes = [set_key(hub, victim, f"k{n}", n) for n in range(20)]
    reads = [hub.http.get("/api/v1/config/schema/" + hostile) for _ in range(20)]
    answers = await asyncio.gather(*attacks, *writes, *reads)
    assert {answer.json()["code"] for answer in answers[:6]} == {"limit_exceeded"}
    assert f"{hostile} in environment default" in answers[0].json()["detail"]
    assert {answer.status_code for answer in answers[6:]} == {200}
    assert (await hub.http.get(f"/api/v1/config/{hostile}")).status_code == 404


async def test_a_slow_schema_under_contention_lets_others_write(hub: RunningHub, service_name: str) -> None:
    slow, victim = service_name, f"{service_name}-victim"
    for environment in ("default", *(f"e{n}" for n in range(12))):
        stored = await set_key(hub, slow, "n", 0, environment=environment)
        assert stored.status_code == 200, stored.text
    # Some hundredths of a second for each of thirteen environments, and every write makes the others start again.
    schema = {"properties": {"n": {"type": "integer"}, "text": {"pattern": "(.{1,300}){1,3}x"}}}
    assert (await hub.http.put(f"/api/v1/config/schema/{slow}", json=schema)).status_code == 200
    writers = [set_key(hub, slow, "text", "a" * 200 + f"{n}x") for n in range(4)]
    others = [set_key(hub, victim, f"k{n}", n) for n in range(10)]
    answers = await asyncio.gather(*writers, *others)
    assert {answer.status_code for answer in answers[4:]} == {200}
    assert {answer.status_code for answer in answers[:4]} <= {200, 503}
    assert 200 in {answer.status_code for answer in answers[:4]}


async def test_a_request_of_the_greatest_size_is_answered(hub: RunningHub, service_name: str) -> None:
    enumeration = {"properties": {"n": {"enum": [f"{n:014d}" for n in range(49_000)]}}}
    registered = await hub.http.put(f"/api/v1/config/schema/{service_name}", json=enumeration)
    assert registered.status_code == 200, registered.text
    refused = await set_key(hub, service_name, "n", "x")
    assert (refused.status_code, refused.json()["code"]) == (422, "schema_violation")
    assert len(refused.text) < 2_000
    beyond = {"enum": [f"{n:020d}" for n in range(60_000)]}
    assert (await hub.http.put(f"/api/v1/config/schema/{service_name}", json=beyond)).status_code == 413
