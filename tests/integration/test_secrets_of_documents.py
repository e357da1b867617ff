"""Secrets and the API: references in one spelling, warnings, and what passes by force with a reason."""

import json
from typing import Any

import httpx2
import pytest

from tests.conftest import RunningHub
from tests.integration.test_config_documents import MERGE, PATCH, assert_problem, own_etag, path, put
from tests.unit.test_secrets import ALNUM, some

TOKEN = "gh" + "p_" + some(ALNUM, 36)
REFERENCE = {"$secret": "env://BILLING_PASSWORD"}
PASS = {"allow": ["secret:/a"], "reason": "a sample of the documentation, long revoked"}


async def own(hub: RunningHub, service: str) -> Any:
    return (await hub.http.get(path(service), params={"own": "true"})).json()["config"]


async def with_verbs(hub: RunningHub, *verbs: str) -> httpx2.AsyncClient:
    return hub.client(await hub.new_token(verbs=list(verbs)))


@pytest.mark.parametrize(
    "entry", ["put", "update", "merge", "merge patch", "json patch"], ids=lambda entry: entry.replace(" ", "-")
)
async def test_a_reference_is_stored_in_one_spelling_whatever_way_it_came(
    hub: RunningHub, service_name: str, entry: str
) -> None:
    await put(hub, service_name, {"password": 1})
    there, written = path(service_name), {"password": "${env:BILLING_PASSWORD}"}
    match entry:
        case "put":
            answer = await put(hub, service_name, written, headers={"If-Match": "*"})
        case "update":
            answer = await hub.http.post(there, json={"config": written})
        case "merge":
            answer = await hub.http.post(there, json={"config": written, "mode": "merge"})
        case "merge patch":
            answer = await hub.http.patch(there, content=json.dumps(written), headers=MERGE)
        case _:
            operations = [{"op": "replace", "path": "/password", "value": written["password"]}]
            answer = await hub.http.patch(there, content=json.dumps(operations), headers=PATCH)
    assert answer.status_code == 200, answer.text
    assert answer.json()["changes"] == [{"op": "replace", "path": "/password", "old": 1, "new": REFERENCE}]
    assert await own(hub, service_name) == {"password": REFERENCE}
    again = await hub.http.post(there, json={"config": written})
    assert again.json()["status"] == "unchanged"


async def test_a_suspected_secret_is_stored_with_a_warning_that_does_not_repeat_it(
    hub: RunningHub, service_name: str
) -> None:
    secret = some(ALNUM, 28)
    stored = (await put(hub, service_name, {"database": {"password": secret}})).json()
    (warning,) = stored["warnings"]
    assert (warning["pointer"], warning["code"]) == ("/database/password", "suspected_secret")
    assert secret not in json.dumps(warning)
    next_one = await hub.http.post(path(service_name), json={"config": {"n": 1}, "mode": "merge"})
    assert next_one.json()["warnings"] == []


async def test_what_looks_like_a_credential_is_stored_by_force_with_a_reason(
    hub: RunningHub, service_name: str
) -> None:
    body = {"config": {"a": TOKEN}}
    assert_problem(await hub.http.post(path(service_name), json=body), 422, "secret_rejected")
    writer = await with_verbs(hub, "write")
    assert_problem(await writer.post(path(service_name), json=body | PASS), 403, "forbidden")
    forcing = await with_verbs(hub, "write", "force")
    for reason in ({}, {"reason": " \n"}):
        unreasoned = await forcing.post(path(service_name), json=body | {"allow": PASS["allow"]} | reason)
        problem = assert_problem(unreasoned, 422, "secret_rejected")
        assert "a reason" in problem["detail"]
    other_place = await forcing.post(path(service_name), json=body | PASS | {"allow": ["secret:/b"]})
    assert [error["pointer"] for error in assert_problem(other_place, 422, "secret_rejected")["errors"]] == ["/a"]
    done = await forcing.post(path(service_name), json=body | PASS)
    assert done.status_code == 200, done.text
    assert [(warning["pointer"], warning["code"]) for warning in done.json()["warnings"]] == [("/a", "allowed_secret")]
    history = (await hub.http.get(f"/api/v1/config/history/{service_name}")).json()["history"]
    assert [entry["reason"] for entry in history] == [PASS["reason"]]


async def test_what_was_forced_does_not_stop_others_and_comes_back_only_by_force(
    hub: RunningHub, service_name: str
) -> None:
    first = (await put(hub, service_name, {"a": TOKEN, "n": 0}, params=PASS)).json()["revision"]
    writer = await with_verbs(hub, "read", "write")
    changed = await writer.patch(path(service_name), content='{"n": 1}', headers=MERGE)
    assert (changed.status_code, changed.json()["warnings"]) == (200, [])
    etag = await own_etag(hub, service_name)
    assert (await writer.put(path(service_name), json={"n": 2}, headers={"If-Match": etag})).status_code == 200
    back = f"/api/v1/config/rollback/{service_name}"
    assert_problem(await writer.post(back, json={"revision": first}), 422, "secret_rejected")
    assert_problem(await hub.http.post(back, json={"revision": first, "allow": ["secret:/a"]}), 422, "secret_rejected")
    assert (await hub.http.post(back, json={"revision": first} | PASS)).status_code == 200
    assert await own(hub, service_name) == {"a": TOKEN, "n": 0}


async def test_no_force_lets_a_credential_into_a_reason(hub: RunningHub, service_name: str) -> None:
    answer = await hub.http.post(path(service_name), json={"config": {}} | PASS | {"reason": f"it is {TOKEN}"})
    assert_problem(answer, 422, "secret_rejected")


async def test_who_lacks_the_verb_is_told_so_before_anything_else(hub: RunningHub, service_name: str) -> None:
    writer = await with_verbs(hub, "write")
    for allow in (["contract"], ["secret:/a"], ["removals", "secret:/a"]):
        answer = await writer.post(path(service_name), json={"config": {}, "allow": allow, "reason": "why not"})
        assert_problem(answer, 403, "forbidden")
    allowed = await writer.post(path(service_name), json={"config": {}, "allow": ["removals", "delta", "type_reuse"]})
    assert allowed.status_code == 200, allowed.text
