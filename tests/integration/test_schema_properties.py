"""G11: whatever the schema and whatever the way, a document that breaks it is not stored."""

import asyncio
import json
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from central_hub.cli.program import app
from tests.conftest import RunningHub

Schema = dict[str, Any]
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Schemas are small enough to read as they are, and shrinking one takes minutes of requests."""
MISSING = object()


@dataclass(frozen=True)
class Part:
    """A schema, a value that satisfies it, and values that do not, each with the way to what is wrong in it."""

    schema: Schema
    good: Any
    bad: list[tuple[tuple[str, ...], Any]]


def leaf(schema: Schema, good: Any, *bad: Any) -> Part:
    return Part(schema, good, [((), value) for value in bad])


numbers = st.integers(-1000, 1000)
words = st.text("abcdefgh", min_size=1, max_size=6)
leaves: st.SearchStrategy[Part] = st.one_of(
    numbers.map(lambda n: leaf({"type": "integer", "minimum": n, "maximum": n + 5}, n + 2, n - 1, n + 6, "x", n + 0.5)),
    numbers.map(lambda n: leaf({"exclusiveMinimum": n, "multipleOf": 0.5}, n + 1.5, n, n + 1.25)),
    words.map(lambda word: leaf({"type": "string", "maxLength": len(word)}, word, word + "x", 1, [], True)),
    words.map(lambda word: leaf({"pattern": f"^(?!x){word}$"}, word, word[:-1], f"x{word}")),
    st.sets(words, min_size=1).map(lambda found: leaf({"enum": sorted(found)}, min(found), "zz", 0)),
    words.map(lambda word: leaf({"const": [word, 1]}, [word, 1], [word], [word, 2])),
    st.just(leaf({"type": "boolean"}, True, 0, "true", [])),
    st.just(leaf({"format": "ipv4"}, "10.0.0.1", "10.0.0.256", "ten")),
    numbers.map(lambda n: leaf({"anyOf": [{"type": "null"}, {"type": "integer", "maximum": n}]}, n, n + 1, "x")),
    numbers.map(lambda n: leaf({"oneOf": [{"maximum": n}, {"minimum": n}], "type": "integer"}, n + 1, n, "x")),
    words.map(
        lambda word: leaf({"items": {"type": "string"}, "maxItems": 2, "type": "array"}, [word], [1], [word] * 3)
    ),
    words.map(lambda word: leaf({"not": {"const": word}}, f"{word}x", word)),
)


def objects(inner: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    return st.builds(_object, st.dictionaries(words, inner, min_size=1, max_size=4), st.booleans())


def _object(parts: dict[str, Part], is_closed: bool) -> Part:
    schema: Schema = {"type": "object", "properties": {key: part.schema for key, part in parts.items()}}
    schema |= {"required": sorted(parts)} | ({"additionalProperties": False} if is_closed else {})
    bad: list[tuple[tuple[str, ...], Any]] = [
        ((key, *way), value) for key, part in parts.items() for way, value in part.bad
    ]
    bad += [((key,), MISSING) for key in parts]
    bad += [(("undeclared",), 1)] if is_closed else []
    return Part(schema, {key: part.good for key, part in parts.items()}, bad)


@dataclass(frozen=True)
class Case:
    """A schema, a document that satisfies it, and what to put where so that it no longer does."""

    schema: Schema
    good: dict[str, Any]
    way: tuple[str, ...]
    value: Any

    @property
    def is_removal(self) -> bool:
        return self.value is MISSING

    @property
    def bad(self) -> Any:
        return _with(self.good, self.way, self.value)

    @property
    def patch(self) -> dict[str, Any]:
        """The merge patch that makes the good one bad."""
        patch: Any = None if self.is_removal else self.value
        for step in reversed(self.way):
            patch = {step: patch}
        assert isinstance(patch, dict)
        return patch


def _with(value: Any, way: tuple[str, ...], new: Any) -> Any:
    if not way:
        return new
    changed = {**value, way[0]: _with(value.get(way[0]), way[1:], new)}
    if changed[way[0]] is MISSING:
        del changed[way[0]]
    return changed


@st.composite
def cases(draw: st.DrawFn) -> Case:
    part = draw(objects(st.recursive(leaves, objects, max_leaves=6)))
    way, value = draw(st.sampled_from(part.bad))
    return Case(part.schema, part.good, way, value)


async def refused_everywhere(hub: RunningHub, case: Case) -> int:
    """Try to store the bad document in every way; returns in how many."""
    name, key = f"svc-{secrets.token_hex(6)}", f"k{secrets.token_hex(6)}"
    http, path = hub.http, f"/api/v1/config/{name}"
    schema = {"properties": {key: case.schema}}
    good, bad, patch = {key: case.good}, {key: case.bad}, {key: case.patch}
    before = _revision(await http.put(path, json=bad))
    _revision(await http.put(path, json=good, headers={"If-Match": "*"}))
    last = _revision(await http.put(f"/api/v1/config/schema/{name}", json=schema))
    update = {"service": name, "config": bad, "allow": ["removals"]}
    merge = {"Content-Type": "application/merge-patch+json"}
    operations = {"Content-Type": "application/json-patch+json"}
    replace = [
        {"op": "test", "path": f"/{key}", "value": case.good},
        {"op": "replace", "path": f"/{key}", "value": bad[key]},
    ]
    answers = [
        await http.put(path, json=bad, headers={"If-Match": "*"}),
        await http.patch(path, json=patch, headers=merge),
        await http.patch(path, json=replace, headers=operations),
        await http.post("/api/v1/config/update", json=update),
        await http.post("/api/v1/config/update", json={**update, "dry_run": True}),
        await http.post(path, json={"config": bad, "allow": ["removals"]}),
        await http.post(f"/api/v1/config/validate/{name}", json={"config": bad, "allow": ["removals"]}),
        await http.post(f"/api/v1/config/rollback/{name}", json={"revision": before}),
    ]
    answers += await _together(hub, update, schema, good)
    applied = await asyncio.to_thread(_apply, hub, **{name: bad, f"{name}-new": good})
    assert applied["code"] == "schema_violation", (case, applied)
    assert all(error["pointer"].startswith(f"/{key}") for error in applied["errors"]), (case, applied)
    if not case.is_removal:  # what only adds to other layers cannot remove
        answers += [
            await http.post("/api/v1/config/update", json={**update, "config": patch, "mode": "merge"}),
            await http.post("/api/v1/config/update", json={**update, "config": patch, "environment": "staging"}),
        ]
    answers.append(await _through_the_global_document(hub, f"{name}-below", schema, bad))
    for answer in answers:
        assert answer.status_code == 422, (case, answer.text)
        assert answer.json()["code"] == "schema_violation", (case, answer.text)
        assert all(error["pointer"].startswith(f"/{key}") for error in answer.json()["errors"]), (case, answer.text)
    for environment in ("default", "staging"):
        assert (await http.get(path, params={"environment": environment})).json()["config"] == good
    history = (await http.get(f"/api/v1/config/history/{name}?limit=1")).json()["history"]
    assert [entry["revision"] for entry in history] == [last]
    return len(answers) + 1


async def _together(hub: RunningHub, update: dict[str, Any], schema: Schema, good: Any) -> list[httpx2.Response]:
    """Let it be one of several changes of a revision, and what a revision is taken back to."""
    name = update["service"]
    beside = {"service": f"{name}-beside", "config": good}
    earlier = {**update, "service": f"{name}-earlier", "allow": ["removals", "delta"]}
    _revision(await _transact(hub, earlier, beside))
    left = _revision(await _transact(hub, {**earlier, "config": {}}, {"service": f"{name}-beside", "schema": {}}))
    _revision(await hub.http.put(f"/api/v1/config/schema/{name}-earlier", json=schema))
    new = {"service": f"{name}-new", "config": good}
    answers = [
        await _transact(hub, new, update),
        await _transact(hub, update, new, dry_run=True),
        await _transact(hub, {**new, "config": update["config"]}, {"service": f"{name}-new", "schema": schema}),
        await _transact(hub, earlier, new),
        await hub.http.post("/api/v1/config/rollback", json={"revision": left}),
    ]
    assert (await hub.http.get(f"/api/v1/config/{name}-new")).status_code == 404
    assert (await hub.http.get(f"/api/v1/config/{name}-earlier")).json()["config"] == {}
    assert (await hub.http.get(f"/api/v1/config/schema/{name}-beside")).status_code == 200
    return answers


async def _transact(hub: RunningHub, *updates: dict[str, Any], **fields: Any) -> httpx2.Response:
    return await hub.http.post("/api/v1/config/transaction", json={"updates": updates, **fields})


def _apply(hub: RunningHub, **documents: dict[str, Any]) -> dict[str, Any]:
    """Apply documents as files, in this process: what the command line says of it."""
    with tempfile.TemporaryDirectory() as directory:
        for name, document in documents.items():
            (Path(directory) / f"{name}.json").write_text(json.dumps(document))
        environment = {"CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token}
        done = CliRunner().invoke(app, ["apply", "-f", directory, "--yes", "--json"], env=environment)
    assert done.exit_code == 1, done.output
    problem: dict[str, Any] = json.loads(done.stderr)
    return problem


async def _through_the_global_document(
    hub: RunningHub, name: str, schema: Schema, bad: dict[str, Any]
) -> httpx2.Response:
    """Let the global document of an environment say what is wrong for a service that says nothing itself."""
    _revision(await hub.http.put(f"/api/v1/config/{name}", json={}))
    _revision(await hub.http.put(f"/api/v1/config/schema/{name}", json=schema))
    environment = f"e{secrets.token_hex(4)}"
    answer = await hub.http.put("/api/v1/config/_global", params={"environment": environment}, json=bad)
    named = {(error["service"], error["environment"]) for error in answer.json()["errors"]}
    assert (name, environment) in named
    # So that the next ones do not have to be held against this one too.
    _revision(await hub.http.delete(f"/api/v1/config/schema/{name}"))
    return answer


def _revision(answer: httpx2.Response) -> int:
    assert answer.status_code == 200, answer.text
    revision: int = answer.json()["revision"]
    return revision


def _property(examples: int) -> Callable[..., Any]:
    @settings(max_examples=examples, deadline=None, phases=UNSHRUNK)
    @given(case=cases())
    async def nothing_wrong_is_stored(hub: RunningHub, case: Case) -> None:
        assert await refused_everywhere(hub, case) == (15 if case.is_removal else 17)

    return nothing_wrong_is_stored


test_a_document_that_breaks_its_schema_is_stored_by_no_way = pytest.mark.timeout(120)(_property(25))
test_ten_thousand_documents_that_break_their_schemas_are_stored_by_no_way = pytest.mark.soak(_property(10_000))
