"""Schemas: registered, held against every effective config that a change reaches, withdrawn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from tests.conftest import DatabaseUrls, RunningHub

INTEGER: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}


def schema_path(service: str) -> str:
    return f"/api/v1/config/schema/{service}"


def config_path(service: str) -> str:
    return f"/api/v1/config/{service}"


async def register(hub: RunningHub, service: str, schema: dict[str, Any], **query: str) -> dict[str, Any]:
    answer = await hub.http.put(schema_path(service), json=schema, params=query)
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()
    return outcome


async def update(hub: RunningHub, service: str, config: dict[str, Any], **fields: Any) -> httpx2.Response:
    body = {"service": service, "config": config, "mode": "merge", **fields}
    return await hub.http.post("/api/v1/config/update", json=body)


async def stored(hub: RunningHub, service: str, config: dict[str, Any], **fields: Any) -> int:
    answer = await update(hub, service, config, **fields)
    assert answer.status_code == 200, answer.text
    revision: int = answer.json()["revision"]
    return revision


def places(answer: httpx2.Response) -> set[tuple[str, str, str]]:
    """The service, environment and pointer of everything that a schema refused."""
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "schema_violation", answer.text
    return {(error["service"], error["environment"], error["pointer"]) for error in answer.json()["errors"]}


async def test_a_config_that_breaks_the_schema_is_refused_with_every_place(hub: RunningHub, service_name: str) -> None:
    schema = {
        "type": "object",
        "properties": {"batch_size": {"type": "integer", "minimum": 1}, "mode": {"enum": ["fast", "safe"]}},
        "required": ["batch_size"],
        "additionalProperties": False,
    }
    await register(hub, service_name, schema)
    refused = await hub.http.put(f"/api/v1/config/{service_name}", json={"batch_size": 0, "mode": "x", "a/b": 1})
    assert refused.status_code == 422, refused.text
    assert refused.json()["code"] == "schema_violation"
    place = {"service": service_name, "environment": "default", "code": "schema_violation"}
    found = sorted(refused.json()["errors"], key=lambda error: str(error["pointer"]))
    assert found == [
        {"pointer": "/a~1b", "keyword": "additionalProperties", "message": "is a key that the schema does not allow"}
        | place,
        {"pointer": "/batch_size", "keyword": "minimum", "message": "must be 1 or more"} | place,
        {"pointer": "/mode", "keyword": "enum", "message": 'must be one of "fast", "safe"'} | place,
    ]
    assert (await hub.http.get(f"/api/v1/config/{service_name}")).status_code == 404
    accepted = await hub.http.put(f"/api/v1/config/{service_name}", json={"batch_size": 2})
    assert accepted.status_code == 200, accepted.text


async def test_a_schema_has_a_revision_an_etag_and_a_history(hub: RunningHub, service_name: str) -> None:
    assert (await hub.http.get(f"/api/v1/config/schema/{service_name}")).status_code == 404
    first = await hub.http.put(f"/api/v1/config/schema/{service_name}", json=INTEGER, params={"reason": "begin"})
    created = first.json()
    assert created["status"] == "created"
    assert created["version"].startswith("sha256:")
    again = await register(hub, service_name, INTEGER)
    assert (again["status"], again["revision"]) == ("unchanged", created["revision"])
    got = await hub.http.get(schema_path(service_name))
    assert got.json() == INTEGER
    assert got.headers["etag"] == first.headers["etag"]
    not_modified = await hub.http.get(schema_path(service_name), headers={"If-None-Match": got.headers["etag"]})
    assert not_modified.status_code == 304
    updated = await register(hub, service_name, {**INTEGER, "title": "Settings"})
    assert (updated["status"], updated["revision"]) == ("updated", created["revision"] + 1)
    stale = await hub.http.put(schema_path(service_name), json=INTEGER, headers={"If-Match": first.headers["etag"]})
    assert stale.status_code == 412, stale.text
    deleted = await hub.http.delete(f"/api/v1/config/schema/{service_name}")
    assert deleted.json()["status"] == "deleted"
    assert (await hub.http.get(schema_path(service_name))).status_code == 404
    assert (await hub.http.delete(schema_path(service_name))).status_code == 404
    page = (await hub.http.get(f"/api/v1/config/history/{service_name}?include=config")).json()["history"]
    assert [(entry["action"], entry["schema"]) for entry in page] == [
        ("schema", None),
        ("schema", {**INTEGER, "title": "Settings"}),
        ("schema", INTEGER),
    ]
    assert page[2]["reason"] == "begin"
    assert [entry["revision"] for entry in page] == [created["revision"] + step for step in (2, 1, 0)]


async def test_a_schema_stands_in_the_audit_log_and_not_in_the_past_of_the_document(
    hub: RunningHub, service_name: str
) -> None:
    one = await stored(hub, service_name, {"n": 1})
    schema = (await register(hub, service_name, INTEGER))["revision"]
    two = await stored(hub, service_name, {"n": 2})
    records = (await hub.http.get("/api/v1/audit", params={"after": str(one - 1)})).json()
    assert [entry["action"] for entry in records["entries"]][:3] == ["created", "schema", "updated"]
    assert records["differing_documents"] == []
    as_it_was = await hub.http.get(config_path(service_name), params={"at": str(schema)})
    assert as_it_was.json()["config"] == {"n": 1}
    current = (await hub.http.get(config_path(service_name), params={"own": "true"})).json()
    assert (current["revision"], current["previous_revision"]) == (two, one)
    compared = (await hub.http.get(f"/api/v1/config/diff/{service_name}")).json()
    assert (compared["from"], compared["to"]) == (one, two)


async def test_a_schema_that_a_config_breaks_is_refused_and_says_whose(hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"n": 1})
    await stored(hub, service_name, {"n": "many"}, environment="staging")
    refused = await hub.http.put(schema_path(service_name), json=INTEGER)
    assert places(refused) == {(service_name, "staging", "/n")}
    assert f"{service_name} in environment staging: /n must be an integer" in refused.json()["detail"]
    assert (await hub.http.get(schema_path(service_name))).status_code == 404


async def test_every_way_to_change_a_config_is_checked(hub: RunningHub, service_name: str) -> None:
    bad = await stored(hub, service_name, {"n": "text"})
    await stored(hub, service_name, {"n": 1})
    await register(hub, service_name, INTEGER)
    wrong, path = {"n": "text"}, config_path(service_name)
    answers = [
        await hub.http.put(path, json=wrong, headers={"If-Match": "*"}),
        await hub.http.patch(path, json=wrong, headers=MERGE_PATCH),
        await hub.http.patch(path, json=[{"op": "replace", "path": "/n", "value": "text"}], headers=JSON_PATCH),
        await hub.http.post(path, json={"config": wrong}),
        await update(hub, service_name, wrong),
        await update(hub, service_name, wrong, dry_run=True),
        await hub.http.post(f"/api/v1/config/validate/{service_name}", json={"config": wrong}),
        await hub.http.post(f"/api/v1/config/rollback/{service_name}", json={"revision": bad}),
    ]
    for answer in answers:
        assert places(answer) == {(service_name, "default", "/n")}
    assert (await hub.http.get(path)).json()["config"] == {"n": 1}


async def test_validation_tells_what_an_update_would_do_and_stores_nothing(hub: RunningHub, service_name: str) -> None:
    revision = await stored(hub, service_name, {"n": 1})
    await register(hub, service_name, INTEGER)
    valid = await hub.http.post(f"/api/v1/config/validate/{service_name}", json={"config": {"n": 2}})
    assert valid.status_code == 200, valid.text
    assert valid.json()["status"] == "valid"
    assert valid.json()["changes"] == [{"op": "replace", "path": "/n", "old": 1, "new": 2}]
    assert (await hub.http.get(config_path(service_name))).json()["revision"] == revision


async def test_a_change_of_the_global_document_is_checked_for_all_whom_it_reaches(
    start_hub: Callable[..., Awaitable[RunningHub]],
) -> None:
    hub = await start_hub()
    for service in ("one", "two", "three"):
        await stored(hub, service, {"own": 1})
    await stored(hub, "two", {"own": 2}, environment="staging")
    await stored(hub, "three", {"n": 3})
    for service in ("one", "two", "three"):
        await register(hub, service, INTEGER)
    assert places(await update(hub, "_global", {"n": "text"})) == {
        ("one", "default", "/n"),
        ("two", "default", "/n"),
        ("two", "staging", "/n"),
    }
    assert places(await update(hub, "_global", {"n": "text"}, environment="production")) == {
        ("one", "production", "/n"),
        ("two", "production", "/n"),
    }
    await stored(hub, "_global", {"n": 1})


async def test_what_only_the_global_document_says_counts_where_the_schema_speaks_of_it(
    start_hub: Callable[..., Awaitable[RunningHub]],
) -> None:
    hub = await start_hub()
    await stored(hub, "_global", {"log_level": "info", "x-trace": True})
    closed = {"properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    await register(hub, "closed", closed)
    await stored(hub, "closed", {"n": 1})
    assert places(await update(hub, "closed", {"log_level": "debug"})) == {("closed", "default", "/log_level")}
    await register(hub, "by-pattern", {**closed, "patternProperties": {"^x-": {"type": "string"}}})
    assert places(await update(hub, "by-pattern", {"n": 1})) == {("by-pattern", "default", "/x-trace")}
    behind = {"$ref": "#/$defs/all", "$defs": {"all": {"properties": {"log_level": {"const": "debug"}}}}}
    await register(hub, "by-reference", behind)
    assert places(await update(hub, "by-reference", {"n": 1})) == {("by-reference", "default", "/log_level")}


async def test_an_environment_may_have_a_schema_of_its_own(hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"n": 1})
    await register(hub, service_name, INTEGER)
    strict = {"properties": {"n": {"maximum": 10}}}
    await register(hub, service_name, strict, environment="production")
    got = await hub.http.get(schema_path(service_name), params={"environment": "production"})
    assert got.json() == strict
    inherited = await hub.http.get(schema_path(service_name), params={"environment": "staging"})
    assert inherited.json() == INTEGER
    # Production inherits the document as well.
    assert places(await update(hub, service_name, {"n": 11})) == {(service_name, "production", "/n")}
    assert places(await update(hub, service_name, {"n": "x"}, environment="staging")) == {
        (service_name, "staging", "/n")
    }
    await stored(hub, service_name, {"n": "x"}, environment="production")
    falls_back = await hub.http.delete(schema_path(service_name), params={"environment": "production"})
    assert places(falls_back) == {(service_name, "production", "/n")}


async def test_deleting_a_layer_is_checked_for_what_comes_to_light(hub: RunningHub, service_name: str) -> None:
    needs_key = {"required": ["key"]}
    await stored(hub, service_name, {"n": 1})
    await stored(hub, service_name, {"key": 1}, environment="staging")
    await register(hub, service_name, needs_key, environment="staging")
    deleted = await hub.http.delete(
        config_path(service_name), params={"environment": "staging"}, headers={"If-Match": "*"}
    )
    assert places(deleted) == {(service_name, "staging", "")}
    gone = await hub.http.delete(schema_path(service_name), params={"environment": "staging"})
    assert gone.status_code == 200, gone.text


async def test_a_reference_to_a_secret_satisfies_any_schema(hub: RunningHub, service_name: str) -> None:
    reference = {"$secret": "env://PASSWORD"}
    schema = {
        "properties": {
            "port": {"type": "integer"},
            "url": {"type": "string", "pattern": "^https:"},
            "store": {"oneOf": [{"type": "null"}, {"properties": {"password": {"type": "string"}}, "type": "object"}]},
            "keys": {"items": {"type": "string", "minLength": 40}, "contains": {"const": "main"}},
        }
    }
    await register(hub, service_name, schema)
    config = {"port": reference, "url": "${env:URL}", "store": {"password": reference}, "keys": [reference]}
    await stored(hub, service_name, config)
    assert places(await update(hub, service_name, {"store": {"password": 1}})) == {(service_name, "default", "/store")}
    assert places(await update(hub, service_name, {"url": "http:"})) == {(service_name, "default", "/url")}


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "x-secret": True},
        {"type": "string", "format": "password", "writeOnly": True},
        {"anyOf": [{"type": "string", "format": "password", "writeOnly": True}, {"type": "null"}]},
    ],
    ids=["marked", "pydantic", "optional"],
)
async def test_a_field_that_a_schema_marks_as_secret_takes_only_a_reference(
    hub: RunningHub, service_name: str, field: dict[str, Any]
) -> None:
    await register(hub, service_name, {"properties": {"db": {"properties": {"password": field}}}})
    refused = await update(hub, service_name, {"db": {"password": "swordfish"}})
    assert refused.status_code == 422, refused.text
    assert refused.json()["code"] == "secret_rejected"
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/db/password"]
    assert "swordfish" not in refused.text
    await stored(hub, service_name, {"db": {"password": {"$secret": "env://DB_PASSWORD"}}})


async def test_no_refusal_repeats_a_value(hub: RunningHub, service_name: str) -> None:
    kinds: list[dict[str, Any]] = [
        {"type": "integer"},
        {"enum": ["a"]},
        {"pattern": "^a$"},
        {"format": "ipv4"},
        {"not": {"type": "string"}},
        {"anyOf": [{"const": 1}, {"maxLength": 1}]},
        {"oneOf": [{"type": "string"}, {"minLength": 1}]},
    ]
    await register(hub, service_name, {"properties": {f"k{n}": kind for n, kind in enumerate(kinds)}})
    refused = await update(hub, service_name, {f"k{n}": "swordfish" for n in range(len(kinds))})
    assert places(refused) == {(service_name, "default", f"/k{n}") for n in range(len(kinds))}
    assert "swordfish" not in refused.text


async def test_a_schema_speaks_before_the_removal_of_keys_does(hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"n": 1, "kept": True})
    await register(hub, service_name, INTEGER)
    assert places(await update(hub, service_name, {"n": "x"}, mode="replace"))
    removed = await update(hub, service_name, {"n": 2}, mode="replace")
    assert (removed.status_code, removed.json()["code"]) == (409, "removals_not_allowed")


@pytest.mark.parametrize(
    ("draft", "schema"),
    [
        ("http://json-schema.org/draft-04/schema#", {"maximum": 3, "exclusiveMaximum": True}),
        ("http://json-schema.org/draft-07/schema#", {"if": {"type": "integer"}, "then": {"maximum": 2}}),
        ("https://json-schema.org/draft/2020-12/schema", {"$ref": "#/$defs/n", "maximum": 2}),
    ],
)
async def test_a_schema_means_what_its_draft_says(
    hub: RunningHub, service_name: str, draft: str, schema: dict[str, Any]
) -> None:
    whole = {"$schema": draft, "properties": {"n": schema}, "$defs": {"n": {"type": "integer"}}}
    await register(hub, service_name, whole)
    await stored(hub, service_name, {"n": 2})
    assert places(await update(hub, service_name, {"n": 3})) == {(service_name, "default", "/n")}


async def test_a_schema_may_speak_of_integers_of_any_size(hub: RunningHub, service_name: str) -> None:
    schema = {"properties": {"n": {"maximum": 2**70, "minimum": -(10**40)}}}
    first = await register(hub, service_name, schema)
    assert (await hub.http.get(schema_path(service_name))).json() == schema
    await register(hub, service_name, {**schema, "maxProperties": 2**64})
    page = await hub.http.get(f"/api/v1/config/history/{service_name}", params={"include": "config"})
    assert page.json()["history"][1]["schema"] == schema
    late = await hub.http.put(schema_path(service_name), json=schema, headers={"If-Match": '"stale"'})
    assert late.status_code == 412, late.text
    await stored(hub, service_name, {"n": 1})
    assert first["status"] == "created"


async def test_the_same_request_again_gets_the_same_answer(hub: RunningHub, service_name: str) -> None:
    headers = {"Idempotency-Key": service_name}
    first = await hub.http.put(schema_path(service_name), json=INTEGER, headers=headers)
    await register(hub, service_name, {"type": "object"})
    again = await hub.http.put(schema_path(service_name), json=INTEGER, headers=headers)
    assert again.json() == first.json()
    assert (await hub.http.get(schema_path(service_name))).json() == {"type": "object"}


async def test_another_replica_obeys_a_schema_at_once_and_after_a_restart(
    start_hub: Callable[..., Awaitable[RunningHub]], database: DatabaseUrls, service_name: str
) -> None:
    one, other = await start_hub(database), await start_hub(database)
    for attempt in range(10):
        service = f"{service_name}-{attempt}"
        await register(one, service, INTEGER)
        assert places(await update(other, service, {"n": "x"})) == {(service, "default", "/n")}
    later = await start_hub(database)
    assert places(await update(later, service_name + "-0", {"n": "x"}))
    assert (await later.http.get(schema_path(service_name + "-0"))).json() == INTEGER


async def test_of_a_schema_and_a_config_that_breaks_it_only_one_is_ever_stored(
    start_hub: Callable[..., Awaitable[RunningHub]], database: DatabaseUrls, service_name: str
) -> None:
    one, other = await start_hub(database), await start_hub(database)
    for attempt in range(15):
        service = f"{service_name}-{attempt}"
        await stored(one, service, {"n": 1})
        writers = [
            one.http.put(schema_path(service), json=INTEGER),
            update(other, service, {"n": "x"}),
            update(one, service, {"n": "y"}, environment="staging"),
            other.http.put(schema_path(service), json={**INTEGER, "title": "other"}),
        ]
        statuses = [answer.status_code for answer in await asyncio.gather(*writers)]
        assert set(statuses) <= {200, 422}
        assert 200 in statuses
        has_schema = 200 in (statuses[0], statuses[3])
        has_wrong_config = 200 in (statuses[1], statuses[2])
        assert has_schema != has_wrong_config, statuses
