"""Several documents and schemas as one revision: all of them or none, and taken back together."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from central_hub.connections.database import Database
from central_hub.storage import audit_records
from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.instances import register
from tests.integration.test_audit import exported, verified
from tests.integration.test_config_documents import assert_problem, own_etag, path, put
from tests.integration.test_watch import watching
from tests.unit.test_secrets import ALNUM, some

TOKEN = "gh" + "p_" + some(ALNUM, 36)
TRANSACTION = "/api/v1/config/transaction"
ROLLBACK = "/api/v1/config/rollback"
SCHEMA = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def transact(hub: RunningHub, *updates: dict[str, Any], **fields: Any) -> httpx2.Response:
    return await hub.http.post(TRANSACTION, json={"updates": list(updates), **fields})


async def transacted(hub: RunningHub, *updates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await transact(hub, *updates, **fields)
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()
    assert answer.headers["x-hub-revision"].startswith(f"{outcome['epoch']}.")
    return outcome


async def config_of(hub: RunningHub, service: str, environment: str = "default") -> Any:
    """The document itself; None where there is none."""
    read = await hub.http.get(path(service), params={"own": "true", "environment": environment})
    return read.json()["config"] if read.status_code == 200 else None


async def head(hub: RunningHub) -> int:
    revision: int = (await hub.http.get("/api/v1/audit", params={"limit": 1})).json()["head"]["revision"]
    return revision


async def test_several_documents_become_one_revision(hub: RunningHub, service_name: str) -> None:
    other = f"{service_name}-b"
    await put(hub, service_name, {"a": 1, "b": 2})
    before = await head(hub)
    outcome = await transacted(
        hub,
        {"service": service_name, "config": {"a": 2}, "mode": "merge", "reason": "its own"},
        {"service": other, "config": {"x": 1}, "version": "2.0"},
        {"service": service_name, "environment": "staging", "config": {"a": 3}},
        reason="together",
    )
    assert outcome["revision"] == before + 1 == await head(hub)
    assert (outcome["status"], outcome["announced"], outcome["warnings"]) == ("updated", True, [])
    told = [(update["status"], update["revision"], update["version"]) for update in outcome["updates"]]
    assert told == [("updated", before + 1, "1.0.1"), ("created", before + 1, "2.0"), ("created", before + 1, "1.0.0")]
    assert outcome["updates"][0]["changes"] == [{"op": "replace", "path": "/a", "old": 1, "new": 2}]
    assert outcome["updates"][0]["etag"] == await own_etag(hub, service_name)
    assert await config_of(hub, service_name) == {"a": 2, "b": 2}
    assert await config_of(hub, other) == {"x": 1}
    assert await config_of(hub, service_name, "staging") == {"a": 3}
    log = await exported(hub)
    mine = [
        (entry["ordinal"], entry["service"], entry["environment"], entry["reason"])
        for entry in log["entries"]
        if entry["revision"] == before + 1
    ]
    assert mine == [
        (0, service_name, "default", "its own"),
        (1, other, "default", "together"),
        (2, service_name, "staging", "together"),
    ]
    assert verified(log).flaws == []
    assert log["differing_documents"] == []


async def test_one_update_that_is_refused_keeps_all_others_out(hub: RunningHub, service_name: str) -> None:
    other, third = f"{service_name}-b", f"{service_name}-c"
    await put(hub, other, {"a": 1, "b": 2})
    await put(hub, third, {"a": 1, "b": 2})
    before = await head(hub)
    problem = assert_problem(
        await transact(
            hub,
            {"service": service_name, "config": {"n": 1}},
            {"service": other, "config": {"a": 1}},
            {"service": third, "config": {"b": 1}},
        ),
        409,
        "removals_not_allowed",
    )
    named = {(error["service"], error["environment"], error["pointer"]) for error in problem["errors"]}
    assert named == {(other, "default", "/b"), (third, "default", "/a")}
    assert {(refused["service"], *refused["removals"]) for refused in problem["refused"]} == {
        (other, "/b"),
        (third, "/a"),
    }
    assert (await config_of(hub, service_name), await head(hub)) == (None, before)


async def test_of_several_faults_the_first_rule_answers_whatever_the_order(hub: RunningHub, service_name: str) -> None:
    other = f"{service_name}-b"
    await put(hub, other, {"a": 1})
    problem = assert_problem(
        await transact(
            hub,
            {"service": service_name, "config": {"key": "AKIA" + "Q3EXAMPLE7Z2B4C6"}},
            {"service": other, "config": {"a": 2}, "expected_revision": 1},
        ),
        412,
        "revision_conflict",
    )
    assert [refused["service"] for refused in problem["refused"]] == [other]
    assert "Q3EXAMPLE" not in str(problem)
    secret = assert_problem(
        await transact(
            hub,
            {"service": service_name, "config": {"key": "AKIA" + "Q3EXAMPLE7Z2B4C6"}},
            {"service": other, "config": {"b": 2}},
        ),
        422,
        "secret_rejected",
    )
    assert [(error["service"], error["pointer"]) for error in secret["errors"]] == [(service_name, "/key")]


async def test_a_secret_passes_a_transaction_by_force_and_comes_back_only_by_force(
    hub: RunningHub, service_name: str
) -> None:
    forced = {"service": service_name, "config": {"a": TOKEN, "n": 1}, "allow": ["secret:/a"]}
    other = {"service": f"{service_name}-b", "config": {"password": "${env:PASSWORD}"}}
    assert_problem(await transact(hub, forced, other), 422, "secret_rejected")
    async with hub.client(await hub.new_token(verbs=["write"])) as writer:
        answer = await writer.post(TRANSACTION, json={"updates": [forced, other], "reason": "a sample"})
        assert_problem(answer, 403, "forbidden")
    outcome = await transacted(hub, forced, other, reason="a sample")
    (warning,) = outcome["warnings"]
    assert (warning["service"], warning["pointer"], warning["code"]) == (service_name, "/a", "allowed_secret")
    assert await config_of(hub, other["service"]) == {"password": {"$secret": "env://PASSWORD"}}
    without = {"service": service_name, "config": {"n": 2}, "allow": ["removals"]}
    removed = await transacted(hub, without, {**other, "config": {"n": 1}, "allow": ["removals"]})
    back = {"revision": removed["revision"]}
    assert_problem(await hub.http.post(ROLLBACK, json=back), 422, "secret_rejected")
    assert_problem(await hub.http.post(ROLLBACK, json=back | {"allow": ["secret:/a"]}), 422, "secret_rejected")
    taken_back = await hub.http.post(ROLLBACK, json=back | {"allow": ["secret:/a"], "reason": "needed after all"})
    assert taken_back.status_code == 200, taken_back.text
    assert await config_of(hub, service_name) == {"a": TOKEN, "n": 1}


async def test_what_all_updates_lead_to_together_is_held_against_the_schemas(
    hub: RunningHub, service_name: str
) -> None:
    schema = {"service": service_name, "schema": SCHEMA}
    assert_problem(
        await transact(hub, schema, {"service": service_name, "config": {"n": "x"}}), 422, "schema_violation"
    )
    outcome = await transacted(hub, schema, {"service": service_name, "config": {"n": 1}})
    assert [update["status"] for update in outcome["updates"]] == ["created", "created"]
    # Each alone would be refused: the new schema by the old document, the new document by the old schema.
    textual = {"properties": {"n": {"type": "string"}}}
    assert_problem(await transact(hub, {"service": service_name, "schema": textual}), 422, "schema_violation")
    assert_problem(await transact(hub, {"service": service_name, "config": {"n": "x"}}), 422, "schema_violation")
    await transacted(hub, {"service": service_name, "config": {"n": "x"}}, {"service": service_name, "schema": textual})
    assert await config_of(hub, service_name) == {"n": "x"}


async def test_layers_are_checked_as_they_are_after_all_updates(hub: RunningHub, service_name: str) -> None:
    limits = {"properties": {"low": {"type": "integer"}, "high": {"type": "integer"}}, "required": ["low", "high"]}
    await put(hub, service_name, {"low": 1, "high": 2})
    await hub.http.put(f"/api/v1/config/schema/{service_name}", json=limits)
    staging = {"service": service_name, "environment": "staging", "config": {"high": 9}}
    without = {"service": service_name, "config": {"low": 1}, "allow": ["removals"]}
    problem = assert_problem(await transact(hub, without, staging), 422, "schema_violation")
    assert [(error["environment"], error["pointer"]) for error in problem["errors"]] == [("default", "")]
    shared = {"service": "_global", "config": {"high": 5}, "mode": "merge"}
    outcome = await transacted(hub, without, staging, shared)
    effective = await hub.http.get(path(service_name), params={"environment": "staging"})
    assert {key: effective.json()["config"][key] for key in ("low", "high")} == {"low": 1, "high": 9}
    assert effective.json()["revision"] == outcome["revision"]
    await transacted(hub, {"service": service_name, "config": {"low": 1, "high": 2}})
    await hub.http.delete(f"/api/v1/config/schema/{service_name}")


async def test_what_runs_is_asked_about_all_of_it_together(hub: RunningHub, service_name: str) -> None:
    other = f"{service_name}-b"
    updates = [{"service": name, "config": {"batch": 1}} for name in (service_name, other)]
    await transacted(hub, *updates)
    model = {"properties": {"batch": {"maximum": 100}, "mode": {}}, "required": ["batch"]}
    await register(hub.http, service_name, "one", build="1.4", schema=model)
    large = [update | {"config": {"batch": 200, "typo": 1}} for update in updates]
    problem = assert_problem(await transact(hub, *large), 422, "contract_violation")
    assert [(error["service"], error["build"], error["pointer"]) for error in problem["errors"]] == [
        (service_name, "1.4", "/batch")
    ]
    assert await config_of(hub, other) == {"batch": 1}
    # The overlay mends what the base would break.
    overlay = {"service": service_name, "environment": "staging", "config": {"batch": 5}}
    await register(hub.http, service_name, "two", environment="staging", build="1.4", schema=model)
    gone = {"service": service_name, "config": {"mode": "x"}, "allow": ["removals"]}
    for_staging = assert_problem(await transact(hub, gone, overlay), 422, "contract_violation")
    assert [error["environment"] for error in for_staging["errors"]] == ["default"]
    # Force for one document does not speak for another.
    await register(hub.http, other, "one", build="7", schema=model)
    forced = [large[0] | {"allow": ["contract"]}, large[1]]
    problem = assert_problem(await transact(hub, *forced, reason="it must be"), 422, "contract_violation")
    assert [error["service"] for error in problem["errors"]] == [other]
    done = await transacted(hub, *(update | {"allow": ["contract"]} for update in large), reason="it must be")
    codes = {(warning["code"], warning["service"], warning["pointer"]) for warning in done["warnings"]}
    assert codes == {
        (code, name, pointer)
        for name in (service_name, other)
        for code, pointer in (("overridden_contract", "/batch"), ("undeclared_key", "/typo"))
    }
    told = [{warning["code"] for warning in update["warnings"]} for update in done["updates"]]
    assert told == [{"undeclared_key"}] * 2


async def test_what_is_done_by_accident_is_refused_of_each_and_a_way_back_is_open(
    hub: RunningHub, service_name: str
) -> None:
    other = f"{service_name}-b"
    large = {f"key_{number}": number for number in range(30)}
    await transacted(hub, *({"service": name, "config": large} for name in (service_name, other)))
    small = [{"service": name, "config": {"key_0": 0}, "allow": ["removals"]} for name in (service_name, other)]
    problem = assert_problem(await transact(hub, *small), 409, "delta_not_allowed")
    assert {refused["service"] for refused in problem["refused"]} == {service_name, other}
    meant = [update | {"allow": ["removals", "delta"]} for update in small]
    shrunk = await transacted(hub, *meant)
    again = [{"service": name, "config": {"key_1": "text"}, "mode": "merge"} for name in (service_name, other)]
    problem = assert_problem(await transact(hub, *again), 409, "type_reuse")
    assert [(error["service"], error["pointer"]) for error in problem["errors"]] == [
        (service_name, "/key_1"),
        (other, "/key_1"),
    ]
    # Builds that refuse the way back are heard, and do not block it.
    model = {"properties": {"key_1": {"not": {}}}}
    await register(hub.http, service_name, build="1", schema=model)
    back = await hub.http.post(ROLLBACK, json={"revision": shrunk["revision"]})
    assert back.status_code == 200, back.text
    assert "overridden_contract" in {warning["code"] for warning in back.json()["warnings"]}
    assert await config_of(hub, service_name) == large


async def test_each_update_has_its_own_precondition(hub: RunningHub, service_name: str) -> None:
    other = f"{service_name}-b"
    first = (await put(hub, service_name, {"a": 1})).json()["revision"]
    ours = {"service": service_name, "config": {"a": 2}, "expected_revision": first}
    new = {"service": other, "config": {"b": 1}, "expected_revision": 0}
    await transacted(hub, ours, new)
    problem = assert_problem(await transact(hub, ours, new), 412, "revision_conflict")
    assert {refused["service"] for refused in problem["refused"]} == {service_name, other}
    assert [change["path"] for change in problem["refused"][1]["diff"]] == []
    assert_problem(
        await hub.http.post(TRANSACTION, json={"updates": [ours]}, headers={"If-Match": "*"}), 422, "invalid_request"
    )


async def test_a_document_is_deleted_only_by_who_names_its_revision(hub: RunningHub, service_name: str) -> None:
    revision = (await put(hub, service_name, {"a": 1})).json()["revision"]
    await hub.http.put(f"/api/v1/config/schema/{service_name}", json={"type": "object"})
    delete = {"service": service_name, "delete": "document"}
    assert_problem(await transact(hub, delete), 428, "precondition_required")
    outcome = await transacted(
        hub, delete | {"expected_revision": revision}, {"service": service_name, "delete": "schema"}
    )
    assert [update["status"] for update in outcome["updates"]] == ["deleted", "deleted"]
    assert await config_of(hub, service_name) is None
    assert (await hub.http.get(f"/api/v1/config/schema/{service_name}")).status_code == 404


async def test_a_dry_run_says_what_would_happen_and_stores_nothing(hub: RunningHub, service_name: str) -> None:
    before = await head(hub)
    updates = [{"service": service_name, "config": {"a": 1}}, {"service": f"{service_name}-b", "config": {"b": 1}}]
    for tried in (
        await transacted(hub, *updates, dry_run=True),
        await transacted(hub, *(update | {"dry_run": True} for update in updates)),
    ):
        assert (tried["status"], tried["announced"]) == ("valid", False)
        assert [update["status"] for update in tried["updates"]] == ["valid", "valid"]
        assert [update["changes"][0]["path"] for update in tried["updates"]] == ["/a", "/b"]
        assert [config["service"] for config in tried["effect"]["configs"]] == [service_name, f"{service_name}-b"]
        assert tried["effect"]["shape"]["added"] == 2
    assert_problem(await transact(hub, updates[0] | {"dry_run": True}, updates[1]), 422, "invalid_request")
    assert await head(hub) == before


async def test_a_transaction_that_changes_nothing_takes_no_revision(hub: RunningHub, service_name: str) -> None:
    updates = [{"service": service_name, "config": {"a": 1}}, {"service": f"{service_name}-b", "config": {"b": 1}}]
    first = await transacted(hub, *updates)
    again = await transacted(hub, *updates)
    assert (again["status"], again["revision"]) == ("unchanged", first["revision"])
    partly = await transacted(hub, updates[0], updates[1] | {"config": {"b": 2}})
    assert partly["revision"] == first["revision"] + 1
    told = [(update["status"], update["revision"]) for update in partly["updates"]]
    assert told == [("unchanged", first["revision"]), ("updated", first["revision"] + 1)]


async def test_a_repeated_transaction_is_done_once(hub: RunningHub, service_name: str) -> None:
    body = {"updates": [{"service": f"{service_name}{letter}", "config": {"a": 1}} for letter in "abc"]}
    key = {"Idempotency-Key": f"once-{service_name}"}
    answers = await asyncio.gather(*(hub.http.post(TRANSACTION, json=body, headers=key) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["revision"] for answer in answers}) == 1
    assert {update["status"] for answer in answers for update in answer.json()["updates"]} == {"created"}
    other = {"updates": body["updates"][:1]}
    assert_problem(await hub.http.post(TRANSACTION, json=other, headers=key), 409, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("updates", "status", "pointer"),
    [
        ([], 422, "/updates"),
        ([{"service": "a", "config": {}}] * 129, 422, "/updates"),
        ([{"service": "a", "config": {}}, {"service": "a", "config": {"x": 1}}], 422, "/updates/1"),
        ([{"service": "a", "config": {}, "revision": 3}], 422, "/updates/0/revision"),
        ([{"service": "a", "config": {}, "delete": "document"}], 422, "/updates/0/config"),
        ([{"service": "a", "schema": 3}], 422, "/updates/0/schema"),
        (["a"], 422, "/updates/0"),
    ],
)
async def test_a_body_that_is_no_transaction_is_refused_with_the_place(
    hub: RunningHub, updates: Any, status: int, pointer: str
) -> None:
    answer = await hub.http.post(TRANSACTION, json={"updates": updates})
    assert answer.status_code == status, answer.text
    assert pointer in [error["pointer"] for error in answer.json()["errors"]], answer.text


async def test_only_schemas_may_speak_of_integers_that_no_document_can_hold(hub: RunningHub, service_name: str) -> None:
    schema = {"properties": {"n": {"maximum": 2**64}}}
    await transacted(hub, {"service": service_name, "schema": schema})
    answer = await transact(hub, {"service": service_name, "config": {"n": 2**64}})
    assert_problem(answer, 400, "malformed_json")


async def test_every_document_must_be_covered_by_the_token(hub: RunningHub, service_name: str) -> None:
    token = await hub.new_token(verbs=["write", "read"], services=[service_name])
    ours = {"service": service_name, "config": {"a": 1}}
    async with hub.client(token) as http:
        both = [ours, {"service": f"{service_name}-b", "config": {"a": 1}}]
        assert_problem(await http.post(TRANSACTION, json={"updates": both}), 403, "forbidden")
        # Names come before the scope, wherever they stand.
        wrong = [*both, {"service": "UPPER", "config": {}}]
        assert_problem(await http.post(TRANSACTION, json={"updates": wrong}), 422, "invalid_name")
        assert await config_of(hub, service_name) is None
        assert (await http.post(TRANSACTION, json={"updates": [ours]})).status_code == 200
    revision = (
        await transacted(hub, ours | {"config": {"a": 2}}, {"service": f"{service_name}-b", "config": {"a": 1}})
    )["revision"]
    async with hub.client(token) as http:
        problem = assert_problem(await http.post(ROLLBACK, json={"revision": revision}), 403, "forbidden")
        assert f"{service_name}-b" not in str(problem)
    async with hub.client(await hub.new_token()) as reader:
        assert_problem(await reader.post(TRANSACTION, json={"updates": [ours]}), 403, "forbidden")
        assert_problem(await reader.post(ROLLBACK, json={"revision": revision}), 403, "forbidden")


async def test_watchers_are_sent_the_changes_of_one_revision_together(hub: RunningHub, service_name: str) -> None:
    services = [f"{service_name}-{letter}" for letter in "abc"]
    await transacted(hub, *({"service": service, "config": {"n": 0}} for service in services))
    async with watching(hub, services) as events:
        for _ in services:
            await events.next_config()
        outcome = await transacted(hub, *({"service": service, "config": {"n": 1}} for service in services))
        seen = [await events.next_config() for _ in services]
    assert {event["data"]["service"] for event in seen} == set(services)
    assert {event["data"]["revision"] for event in seen} == {outcome["revision"]}
    assert [event.get("id") for event in seen] == [None, None, f"1.{outcome['revision']}"]


async def test_a_transaction_waits_for_the_same_documents_and_loses_nothing(hub: RunningHub, service_name: str) -> None:
    services = [f"{service_name}-{letter}" for letter in "ab"]
    await transacted(hub, *({"service": service, "config": {}} for service in services))

    async def alone(number: int) -> httpx2.Response:
        body = {"service": services[number % 2], "config": {f"alone-{number}": 1}, "mode": "merge"}
        return await hub.http.post("/api/v1/config/update", json=body)

    async def together(number: int) -> httpx2.Response:
        keys = {f"together-{number}": 1}
        return await transact(hub, *({"service": name, "config": keys, "mode": "merge"} for name in services))

    answers = await asyncio.gather(*(write(number) for number in range(12) for write in (alone, together)))
    assert [answer.status_code for answer in answers] == [200] * 24
    assert len({answer.json()["revision"] for answer in answers}) == 24
    first, second = [set(await config_of(hub, service)) for service in services]
    assert first & second == {f"together-{number}" for number in range(12)}
    assert first | second == (first & second) | {f"alone-{number}" for number in range(12)}


async def test_a_whole_revision_is_taken_back(hub: RunningHub, service_name: str) -> None:
    other, gone = f"{service_name}-b", f"{service_name}-c"
    await put(hub, service_name, {"a": 1})
    deleted = (await put(hub, gone, {"c": 1})).json()["revision"]
    bad = await transacted(
        hub,
        {"service": service_name, "config": {"a": 2}},
        {"service": other, "config": {"b": 1}},
        {"service": gone, "delete": "document", "expected_revision": deleted},
        {"service": service_name, "schema": {"properties": {"a": {"enum": [2]}}}},
    )
    tried = await hub.http.post(ROLLBACK, json={"revision": bad["revision"], "dry_run": True})
    assert (tried.status_code, tried.json()["status"]) == (200, "valid"), tried.text
    back = await hub.http.post(ROLLBACK, json={"revision": bad["revision"], "reason": "it was wrong"})
    assert back.status_code == 200, back.text
    assert back.json()["revision"] == bad["revision"] + 1
    assert await config_of(hub, service_name) == {"a": 1}
    assert await config_of(hub, other) is None
    assert await config_of(hub, gone) == {"c": 1}
    assert (await hub.http.get(f"/api/v1/config/schema/{service_name}")).status_code == 404
    history = (await hub.http.get(f"/api/v1/config/history/{service_name}", params={"limit": 1})).json()
    # One commit changed the document and its schema: a page never shows half of it.
    assert sorted((entry["action"], entry["reason"]) for entry in history["history"]) == [
        ("rollback", "it was wrong"),
        ("schema", "it was wrong"),
    ]
    following = (
        await hub.http.get(f"/api/v1/config/history/{service_name}", params={"limit": 1, "before": history["next"]})
    ).json()
    assert {entry["revision"] for entry in following["history"]} == {bad["revision"]}
    forward = await hub.http.post(ROLLBACK, json={"revision": back.json()["revision"]})
    assert forward.status_code == 200, forward.text
    assert await config_of(hub, service_name) == {"a": 2}


async def test_a_revision_is_not_taken_back_over_a_later_change(hub: RunningHub, service_name: str) -> None:
    other = f"{service_name}-b"
    outcome = await transacted(
        hub, {"service": service_name, "config": {"a": 1}}, {"service": other, "config": {"b": 1}}
    )
    await hub.http.post(path(other), json={"config": {"b": 2}})
    problem = assert_problem(
        await hub.http.post(ROLLBACK, json={"revision": outcome["revision"]}), 412, "revision_conflict"
    )
    assert other in problem["detail"]
    assert (await config_of(hub, service_name), await config_of(hub, other)) == ({"a": 1}, {"b": 2})
    beyond = {"revision": await head(hub) + 1}
    assert_problem(await hub.http.post(ROLLBACK, json=beyond), 404, "not_found")
    assert_problem(await hub.http.post(ROLLBACK, json={"revision": 0}), 404, "not_found")


async def test_a_managed_document_warns_whoever_else_changes_it(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    update = {"service": service_name, "config": {"a": 1}}
    marked = await transacted(hub, update, managed_by="fleet-repository")
    assert (marked["status"], marked["warnings"]) == ("unchanged", [])
    for body in ({"config": {"a": 2}, "dry_run": True}, {"config": {"a": 2}}):
        answer = await hub.http.post(path(service_name), json=body)
        (warning,) = answer.json()["warnings"]
        assert (warning["pointer"], warning["code"]) == ("", "managed_document")
        assert "is managed by fleet-repository" in warning["message"]
    same = await hub.http.post(path(service_name), json={"config": {"a": 2}})
    assert (same.json()["status"], same.json()["warnings"]) == ("unchanged", [])
    taken_back = await transacted(hub, update, managed_by="fleet-repository")
    assert (taken_back["status"], taken_back["warnings"]) == ("updated", [])
    await hub.http.delete(path(service_name), headers={"If-Match": await own_etag(hub, service_name)})
    fresh = await hub.http.put(path(service_name), json={"a": 5})
    assert fresh.json()["warnings"] == []


async def test_a_redaction_leaves_no_value_of_a_transaction_in_remembered_answers(
    hub: RunningHub, database: DatabaseUrls, service_name: str
) -> None:
    body = {
        "updates": [
            {"service": service_name, "config": {"note": "hush-hush-value"}},
            {"service": service_name, "schema": {"title": "hush-hush-value"}},
            {"service": f"{service_name}-b", "config": {"a": 1}},
        ]
    }
    key = {"Idempotency-Key": f"redact-{service_name}"}
    revision = (await hub.http.post(TRANSACTION, json=body, headers=key)).json()["revision"]
    await hub.http.post(path(service_name), json={"config": {"note": "later"}})
    owner = Database(database.owner, pool_size=1)
    assert await owner.transaction(
        lambda connection: audit_records.redact(
            connection, service_name, "default", revision, by="me", at=datetime.now(UTC), reason="leaked"
        )
    )
    await owner.close()
    again = await hub.http.post(TRANSACTION, json=body, headers=key)
    assert (again.status_code, again.json()["revision"]) == (200, revision), again.text
    assert "hush-hush-value" not in again.text
    assert [update["service"] for update in again.json()["updates"]][2] == f"{service_name}-b"
    assert verified(await exported(hub)).flaws == []
