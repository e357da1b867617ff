"""The life of a document through the API: created, read, changed, removed, rolled back."""

import json
from typing import Any

import httpx2
import pytest

from central_hub_client.wire import content_hash
from tests.conftest import RunningHub

MERGE = {"Content-Type": "application/merge-patch+json"}
PATCH = {"Content-Type": "application/json-patch+json"}


def path(service: str) -> str:
    return f"/api/v1/config/{service}"


async def put(hub: RunningHub, service: str, config: Any, **options: Any) -> httpx2.Response:
    return await hub.http.put(path(service), json=config, **options)


async def own_etag(hub: RunningHub, service: str) -> str:
    etag: str = (await hub.http.get(path(service), params={"own": "true"})).headers["etag"]
    return etag


def assert_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail"} <= problem.keys()
    return problem


async def test_a_put_document_is_read_back_with_its_hash_and_etag(hub: RunningHub, service_name: str) -> None:
    config = {"operational": {"batch_size": 150}, "z": 1.5, "a": [1, {"b": None}]}
    created = await put(hub, service_name, config, params={"reason": "first"})
    assert created.status_code == 200
    assert created.json()["status"] == "created"
    assert created.json()["version"] == "1.0.0"
    assert created.json()["announced"] is True
    read = await hub.http.get(path(service_name))
    body = read.json()
    assert body["config"] == config
    assert body["hash"] == content_hash(config)
    assert body["revision"] == created.json()["revision"]
    assert body["previous_revision"] is None
    assert body["requires"] == []
    assert body["updated_by"] == "admin"
    assert read.headers["etag"] == created.headers["etag"]
    assert read.headers["etag"] == f'"{body["epoch"]}.{body["revision"]}.{body["hash"][7:23]}"'
    assert read.headers["x-hub-revision"] == f"{body['epoch']}.{body['revision']}"


async def test_replacing_needs_the_current_etag(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    assert_problem(await put(hub, service_name, {"a": 2}), 428, "precondition_required")
    stale = await own_etag(hub, service_name)
    assert (await put(hub, service_name, {"a": 2}, headers={"If-Match": stale})).status_code == 200
    problem = assert_problem(
        await put(hub, service_name, {"a": 3}, headers={"If-Match": stale}), 412, "revision_conflict"
    )
    assert problem["current_etag"] == await own_etag(hub, service_name)
    assert [(change["path"], change["old"], change["new"]) for change in problem["diff"]] == [("/a", 2, 3)]
    credential = {"a": "AKIA" + "Q3EXAMPLE7Z2B4C6"}
    secretive = assert_problem(
        await put(hub, service_name, credential, headers={"If-Match": stale}), 412, "revision_conflict"
    )
    assert secretive["diff"] == []
    assert_problem(await put(hub, service_name, {"a": 3}, headers={"If-None-Match": "*"}), 412, "revision_conflict")
    assert (await hub.http.get(path(service_name))).json()["config"] == {"a": 2}


async def test_an_update_that_changes_nothing_takes_no_revision(hub: RunningHub, service_name: str) -> None:
    first = (await put(hub, service_name, {"a": 1, "b": 2})).json()
    again = await hub.http.post(path(service_name), json={"config": {"b": 2, "a": 1}})
    assert again.json()["status"] == "unchanged"
    assert again.json()["revision"] == first["revision"]
    assert again.json()["changes"] == []


async def test_an_update_that_would_remove_keys_is_refused_and_says_which(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": {"b": 1, "c": 2}, "d": 3})
    problem = assert_problem(
        await hub.http.post("/api/v1/config/update", json={"service": service_name, "config": {"a": {"b": 1}}}),
        409,
        "removals_not_allowed",
    )
    assert problem["removals"] == ["/a/c", "/d"]
    allowed = await hub.http.post(
        "/api/v1/config/update", json={"service": service_name, "config": {"a": {"b": 1}}, "allow": ["removals"]}
    )
    assert allowed.json()["status"] == "updated"


async def test_merge_keeps_what_it_does_not_name_and_stores_null(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": {"b": 1, "c": [1, 2]}})
    answer = await hub.http.post(path(service_name), json={"config": {"a": {"b": None, "c": [3]}}, "mode": "merge"})
    assert answer.json()["changes"] == [
        {"op": "replace", "path": "/a/b", "old": 1, "new": None},
        {"op": "replace", "path": "/a/c", "old": [1, 2], "new": [3]},
    ]
    assert (await hub.http.get(path(service_name))).json()["config"] == {"a": {"b": None, "c": [3]}}


async def test_a_merge_that_would_bury_an_object_under_a_scalar_is_refused(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": {"b": 1}})
    answer = await hub.http.post(path(service_name), json={"config": {"a": 5}, "mode": "merge"})
    assert_problem(answer, 409, "removals_not_allowed")


async def test_a_merge_patch_removes_with_null(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": {"b": 1, "c": 2}})
    answer = await hub.http.patch(path(service_name), content=json.dumps({"a": {"b": None, "d": 4}}), headers=MERGE)
    assert answer.json()["status"] == "updated"
    assert (await hub.http.get(path(service_name))).json()["config"] == {"a": {"c": 2, "d": 4}}


async def test_a_json_patch_is_applied_whole_or_not_at_all(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1, "list": [1, 2]})
    good = [{"op": "add", "path": "/list/1", "value": 9}, {"op": "remove", "path": "/a"}]
    assert (await hub.http.patch(path(service_name), content=json.dumps(good), headers=PATCH)).status_code == 200
    half = [{"op": "add", "path": "/new", "value": 1}, {"op": "test", "path": "/list/0", "value": 100}]
    refused = await hub.http.patch(path(service_name), content=json.dumps(half), headers=PATCH)
    problem = assert_problem(refused, 412, "revision_conflict")
    assert refused.headers["etag"] == problem["current_etag"] == await own_etag(hub, service_name)
    lost = [{"op": "add", "path": "/new", "value": 1}, {"op": "remove", "path": "/nowhere"}]
    assert_problem(
        await hub.http.patch(path(service_name), content=json.dumps(lost), headers=PATCH), 422, "invalid_request"
    )
    assert (await hub.http.get(path(service_name))).json()["config"] == {"list": [1, 9, 2]}


async def test_copies_that_double_a_document_again_and_again_are_refused(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": [1] * 100})
    bomb = [{"op": "copy", "from": "", "path": f"/x{index}"} for index in range(40)]
    answer = await hub.http.patch(path(service_name), content=json.dumps(bomb), headers=PATCH)
    assert_problem(answer, 422, "limit_exceeded")


async def test_delete_leaves_a_tombstone_with_history(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    assert_problem(await hub.http.delete(path(service_name)), 428, "precondition_required")
    deleted = await hub.http.delete(path(service_name), headers={"If-Match": await own_etag(hub, service_name)})
    assert deleted.json()["status"] == "deleted"
    assert_problem(await hub.http.get(path(service_name)), 404, "not_found")
    history = (await hub.http.get(f"/api/v1/config/history/{service_name}")).json()["history"]
    assert [entry["action"] for entry in history] == ["deleted", "created"]
    again = await put(hub, service_name, {"a": 2})
    assert again.json()["status"] == "created"


async def test_a_rollback_makes_a_new_revision_of_an_old_content(hub: RunningHub, service_name: str) -> None:
    first = (await put(hub, service_name, {"a": 1})).json()["revision"]
    await put(hub, service_name, {"b": 2}, headers={"If-Match": await own_etag(hub, service_name)})
    answer = await hub.http.post(f"/api/v1/config/rollback/{service_name}", json={"revision": first})
    assert answer.json()["status"] == "updated"
    assert answer.json()["revision"] > first + 1
    assert (await hub.http.get(path(service_name))).json()["config"] == {"a": 1}
    newest = (await hub.http.get(f"/api/v1/config/history/{service_name}?limit=1")).json()["history"][0]
    assert newest["action"] == "rollback"
    assert_problem(
        await hub.http.post(f"/api/v1/config/rollback/{service_name}", json={"revision": 10**9}), 404, "not_found"
    )


async def test_a_dry_run_shows_the_changes_and_stores_nothing(hub: RunningHub, service_name: str) -> None:
    before = (await put(hub, service_name, {"a": 1})).json()["revision"]
    answer = await hub.http.post(path(service_name), json={"config": {"a": 2}, "dry_run": True})
    assert answer.json()["status"] == "valid"
    assert answer.json()["changes"] == [{"op": "replace", "path": "/a", "old": 1, "new": 2}]
    read = (await hub.http.get(path(service_name))).json()
    assert (read["config"], read["revision"]) == ({"a": 1}, before)


async def test_an_idempotency_key_gives_the_same_answer_and_one_event(hub: RunningHub, service_name: str) -> None:
    headers = {"Idempotency-Key": f"key-{service_name}"}
    first = await hub.http.post(path(service_name), json={"config": {"a": 1}}, headers=headers)
    second = await hub.http.post(path(service_name), json={"config": {"a": 1}}, headers=headers)
    assert (first.json(), first.headers["etag"]) == (second.json(), second.headers["etag"])
    other = await hub.http.post(path(service_name), json={"config": {"a": 2}}, headers=headers)
    assert_problem(other, 409, "idempotency_mismatch")
    assert len((await hub.http.get(f"/api/v1/config/history/{service_name}")).json()["history"]) == 1


async def test_expected_revision_is_that_of_the_document_itself(hub: RunningHub, service_name: str) -> None:
    revision = (await put(hub, service_name, {"a": 1})).json()["revision"]
    wrong = await hub.http.post(path(service_name), json={"config": {"a": 2}, "expected_revision": revision + 1})
    assert_problem(wrong, 412, "revision_conflict")
    right = await hub.http.post(path(service_name), json={"config": {"a": 2}, "expected_revision": f"1.{revision}"})
    assert right.json()["status"] == "updated"


async def test_the_version_is_bumped_unless_it_is_given(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1}, params={"version": "spring-9"})
    bumped = await hub.http.post(path(service_name), json={"config": {"a": 2}})
    assert bumped.json()["version"] == "spring-10"


async def test_a_body_that_looks_like_an_update_is_not_stored_as_a_document(hub: RunningHub, service_name: str) -> None:
    answer = await put(hub, service_name, {"service": service_name, "config": {"a": 1}})
    assert_problem(answer, 422, "invalid_request")


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null"])
async def test_a_document_is_an_object(hub: RunningHub, service_name: str, body: bytes) -> None:
    answer = await hub.http.put(path(service_name), content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, "invalid_request")
