"""How far a change has got, as the hub tells it: applied, refused and why, hidden, or not heard of."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from central_hub.storage import consumer_schemas
from central_hub_client.wire import content_hash
from tests.conftest import RunningHub
from tests.integration.instances import beat, instance_path, let_time_pass, register, status
from tests.integration.test_config_documents import assert_problem, path, put

SCHEMA = {"type": "object", "properties": {"batch": {"type": "integer", "maximum": 2**64}}}


async def change(hub: RunningHub, service: str, config: dict[str, Any], **query: Any) -> dict[str, int]:
    """Store a configuration; the position that it takes."""
    answer = await hub.http.post(f"/api/v1/config/{service}", json={"config": config, "mode": "merge"} | query)
    assert answer.status_code == 200, answer.text
    return {"epoch": answer.json()["epoch"], "revision": answer.json()["revision"]}


def states(told: dict[str, Any]) -> dict[str, str]:
    return {instance["instance_id"]: instance["state"] for instance in told["instances"]}


async def test_a_change_has_converged_when_every_instance_has_applied_it(hub: RunningHub, service_name: str) -> None:
    first = await change(hub, service_name, {"batch": 1})
    a, b = [await register(hub.http, service_name, name) for name in "ab"]
    assert states(await status(hub, service_name)) == {"a": "pending", "b": "pending"}
    await beat(hub.http, a, applied=first)
    told = await status(hub, service_name)
    assert states(told) == {"a": "applied", "b": "pending"}
    assert told["converged"] is False
    await beat(hub.http, b, applied=first)
    told = await status(hub, service_name)
    assert (told["revision"], told["epoch"], told["converged"]) == (first["revision"], first["epoch"], True)
    assert told["instances"][0]["applied_revision"] == first["revision"]
    second = await change(hub, service_name, {"batch": 2})
    await beat(hub.http, a, applied=second)
    assert states(await status(hub, service_name)) == {"a": "applied", "b": "pending"}


async def test_a_refusal_is_told_with_its_reason_until_a_later_revision_is_applied(
    hub: RunningHub, service_name: str
) -> None:
    good = await change(hub, service_name, {"batch": 1})
    made = await register(hub.http, service_name)
    bad = await change(hub, service_name, {"batch": -1})
    await beat(hub.http, made, applied=good, rejected=bad | {"reason": "/batch: must be positive"})
    told = await status(hub, service_name)
    [instance] = told["instances"]
    assert (instance["state"], instance["error"]) == ("rejected", "/batch: must be positive")
    assert (instance["applied_revision"], instance["rejected_revision"]) == (good["revision"], bad["revision"])
    assert told["converged"] is False
    better = await change(hub, service_name, {"batch": 2})
    [instance] = (await status(hub, service_name))["instances"]
    assert instance["state"] == "pending"
    assert "error" not in instance
    await beat(hub.http, made, applied=better)
    [instance] = (await status(hub, service_name))["instances"]
    assert (instance["state"], instance["rejected_revision"]) == ("applied", None)


async def test_an_instance_that_hides_the_changed_key_has_not_converged(hub: RunningHub, service_name: str) -> None:
    await change(hub, service_name, {"batch": {"size": 1, "wait": 2}, "other": 1})
    made = await register(hub.http, service_name)
    latest = await change(hub, service_name, {"batch": {"size": 5}})
    report = {
        "unknown": ["/colour"],
        "shadowed": ["batch.size"],
        "defaulted": ["/retries"],
        "unread": ["/other"],
        "local_keys": ["/batch/size"],
    }
    await beat(hub.http, made, applied=latest, report=report)
    told = await status(hub, service_name)
    [instance] = told["instances"]
    assert (instance["state"], told["converged"]) == ("shadowed", False)
    assert instance["unknown_keys"] == ["/colour"]
    assert instance["shadowed_keys"] == ["/batch/size"]
    assert instance["defaulted_keys"] == ["/retries"]
    assert instance["unread_keys"] == ["/other"]
    assert instance["local_keys"] == ["/batch/size"]
    unconcerned = await change(hub, service_name, {"other": 2})
    await beat(hub.http, made, applied=unconcerned)
    assert (await status(hub, service_name))["converged"] is True


async def test_a_change_of_the_global_document_is_hidden_the_same_way(hub: RunningHub, service_name: str) -> None:
    key = service_name.replace("-", "_")
    await change(hub, service_name, {"a": 1})
    made = await register(hub.http, service_name)
    latest = await change(hub, "_global", {key: 1})
    await beat(hub.http, made, applied=latest, report={"shadowed": [f"/{key}"]})
    assert states(await status(hub, service_name)) == {"one": "shadowed"}


async def test_what_only_the_global_document_sets_is_nobodys_dead_key(hub: RunningHub, service_name: str) -> None:
    await change(hub, "_global", {"limits": {"a/b": 1, "c": 1}, "tiers": [{"x": 1}], "both": {"own": 1, "shared": 1}})
    await change(hub, service_name, {"both": {"own": 2}, "own": 1})
    latest = await change(hub, service_name, {"limits": {"c": 1}}, environment="staging")
    dead = ["/both/own", "/both/shared", "/gone", "/limits/a~1b", "/limits/c", "/own", "/tiers/0/x"]
    report = {"unknown": dead, "unread": dead, "shadowed": ["/limits/c"], "defaulted": ["/limits/c"]}
    await beat(hub.http, await register(hub.http, service_name), applied=latest, report=report)
    [instance] = (await status(hub, service_name))["instances"]
    assert instance["unknown_keys"] == instance["unread_keys"] == ["/both/own", "/gone", "/own"]
    assert instance["shadowed_keys"] == instance["defaulted_keys"] == ["/limits/c"]
    made = await register(hub.http, service_name, "two", environment="staging")
    await beat(hub.http, made, applied=latest, report=report)
    [instance] = (await status(hub, service_name, environment="staging"))["instances"]
    assert instance["unknown_keys"] == ["/both/own", "/gone", "/limits/c", "/own"]


async def test_of_a_silent_instance_nobody_knows_what_it_runs(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest = await change(hub, service_name, {"a": 1})
    await beat(hub.http, await register(hub.http, service_name), applied=latest)
    assert (await status(hub, service_name))["converged"] is True
    await let_time_pass(hub, service_name, 31)
    told = await status(hub, service_name)
    assert (states(told), told["converged"]) == ({"one": "silent"}, False)


async def test_each_environment_has_a_status_of_its_own(hub: RunningHub, service_name: str) -> None:
    latest = await change(hub, service_name, {"a": 1})
    staging = await change(hub, service_name, {"a": 2}, environment="staging")
    await beat(hub.http, await register(hub.http, service_name, "d"), applied=latest)
    await beat(hub.http, await register(hub.http, service_name, "s", environment="staging"), applied=latest)
    assert states(await status(hub, service_name)) == {"d": "applied"}
    told = await status(hub, service_name, environment="staging")
    assert (told["revision"], states(told)) == (staging["revision"], {"s": "pending"})


async def test_a_service_without_instances_and_one_without_configuration_have_a_status(
    hub: RunningHub, service_name: str
) -> None:
    latest = await change(hub, service_name, {"a": 1})
    told = await status(hub, service_name)
    assert (told["revision"], told["instances"], told["converged"]) == (latest["revision"], [], True)
    await register(hub.http, f"{service_name}-x")
    told = await status(hub, f"{service_name}-x")
    assert (told["revision"], states(told), told["converged"]) == (None, {"one": "applied"}, True)
    assert_problem(await hub.http.get(f"/api/v1/config/status/{service_name}-y"), 404, "not_found")
    assert_problem(await hub.http.get("/api/v1/config/status/_global"), 422, "invalid_name")


async def test_a_deleted_configuration_has_to_arrive_too(hub: RunningHub, service_name: str) -> None:
    first = await change(hub, service_name, {"a": 1})
    made = await register(hub.http, service_name)
    await beat(hub.http, made, applied=first)
    etag = (await hub.http.get(path(service_name), params={"own": "true"})).headers["etag"]
    answer = await hub.http.delete(path(service_name), headers={"If-Match": etag})
    assert states(await status(hub, service_name)) == {"one": "pending"}
    await beat(hub.http, made, applied={"epoch": answer.json()["epoch"], "revision": answer.json()["revision"]})
    assert states(await status(hub, service_name)) == {"one": "applied"}


async def test_a_schema_is_asked_for_when_only_its_unknown_hash_was_told(hub: RunningHub, service_name: str) -> None:
    digest = content_hash(SCHEMA)
    body = {"name": service_name, "instance_id": "a", "build": "b1", "schema_hash": digest}
    assert (await hub.http.post("/api/v1/discovery/register", json=body)).json()["schema_needed"] is True
    answer = await hub.http.put(instance_path(service_name, "a"), json={"schema": SCHEMA, "generation": 1})
    assert answer.json()["schema_needed"] is False
    for build in ("b1", "b2"):
        again = body | {"instance_id": build, "build": build}
        assert (await hub.http.post("/api/v1/discovery/register", json=again)).json()["schema_needed"] is False
    whole = body | {"instance_id": "c", "build": "b3", "schema": SCHEMA | {"title": "other"}}
    assert (await hub.http.post("/api/v1/discovery/register", json=whole)).json()["schema_needed"] is False
    await put(hub, service_name, {"batch": 1})
    told = await status(hub, service_name)
    assert {instance["schema"] for instance in told["instances"]} == {digest, content_hash(SCHEMA | {"title": "other"})}
    async with hub.service.connections.database.reading() as connection:
        known, _ = await consumer_schemas.changed_since(connection, 0)
    kept = sorted((schema for schema in known if schema.service == service_name), key=lambda schema: schema.build)
    assert [(schema.build, schema.schema_hash == digest) for schema in kept] == [
        ("b1", True),
        ("b2", True),
        ("b3", False),
    ]


async def test_a_schema_stays_known_as_long_as_an_instance_runs_it(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordination = hub.service.coordination
    made = await register(hub.http, service_name, schema=SCHEMA, lease_seconds=3600)
    await let_time_pass(hub, service_name, 50 * 60)
    began = datetime.now(UTC)
    assert (await beat(hub.http, made)).status_code == 200
    await coordination.write()
    await coordination.forget_old()
    async with hub.service.connections.database.reading() as connection:
        known, _ = await consumer_schemas.changed_since(connection, 0)
    [kept] = [schema for schema in known if schema.service == service_name]
    assert kept.last_seen_at >= began - timedelta(seconds=1)  # by the store's clock
    assert kept.build == ""


async def test_a_revision_that_is_named_counts_though_there_are_later_ones(hub: RunningHub, service_name: str) -> None:
    first = await change(hub, service_name, {"batch": 1})
    a, b = [await register(hub.http, service_name, name) for name in "ab"]
    await beat(hub.http, a, applied=first, report={"shadowed": ["/other"]})
    between = await change(hub, f"{service_name}-x", {"n": 1})
    second = await change(hub, service_name, {"other": 2})
    await beat(hub.http, b, applied=second)
    # Of the one between, which was another service's, this service is to run what it had by then.
    for revision in (first["revision"], between["revision"], f"{first['epoch']}.{first['revision']}"):
        told = await status(hub, service_name, revision=revision)
        assert (told["revision"], told["converged"]) == (first["revision"], True)
        assert told["states"] == {"applied": 2, "pending": 0, "rejected": 0, "shadowed": 0, "silent": 0}
    later = await change(hub, f"{service_name}-x", {"n": 2})
    for revision in (second["revision"], later["revision"]):
        told = await status(hub, service_name, revision=revision)
        assert (told["revision"], states(told)) == (second["revision"], {"a": "pending", "b": "applied"})
    await beat(hub.http, a, applied=second)
    told = await status(hub, service_name)
    assert states(told) == {"a": "shadowed", "b": "applied"}
    assert told["instances"][0]["error"] == "its own settings hide /other"
    assert (await status(hub, service_name, revision=first["revision"]))["converged"] is True


async def test_a_revision_that_there_is_not_yet_is_no_reason_to_call_it_converged(
    hub: RunningHub, service_name: str
) -> None:
    await change(hub, service_name, {"a": 1})
    for revision, code, problem in (("999999", 503, "replica_behind"), ("x", 422, "invalid_request")):
        answer = await hub.http.get(f"/api/v1/config/status/{service_name}", params={"revision": revision})
        assert_problem(answer, code, problem)


async def test_who_waits_is_answered_as_soon_as_nobody_is_pending(hub: RunningHub, service_name: str) -> None:
    first = await change(hub, service_name, {"a": 1})
    made = await register(hub.http, service_name)
    told = await status(hub, service_name, wait=0.3)
    assert states(told) == {"one": "pending"}
    waiting = asyncio.create_task(status(hub, service_name, wait=60))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    # Waited for is what was the latest when it was asked.
    later = await change(hub, service_name, {"a": 2})
    await beat(hub.http, made, applied=first)
    told = await asyncio.wait_for(waiting, 15)
    assert (told["revision"], told["converged"]) == (first["revision"], True)
    await beat(hub.http, made, applied=first, rejected=later | {"reason": "no"})
    told = await asyncio.wait_for(status(hub, service_name, wait=60), 15)
    assert states(told) == {"one": "rejected"}


async def test_the_time_until_a_revision_is_applied_is_measured(hub: RunningHub, service_name: str) -> None:
    async def measured() -> tuple[float, float]:
        lines = (await hub.http.get("/api/v1/metrics")).text.splitlines()
        series = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        name = "central_hub_time_to_apply_seconds"
        return float(series[f"{name}_count"]), float(series[f"{name}_sum"])

    old = await change(hub, service_name, {"a": 1})
    made = await register(hub.http, service_name)
    before = await measured()
    await beat(hub.http, made, applied=old)  # it began with this one
    assert await measured() == before
    began = time.monotonic()
    new = await change(hub, service_name, {"a": 2})
    await asyncio.sleep(0.2)
    for _ in range(2):  # told again, it is nothing new
        await beat(hub.http, made, applied=new)
    count, seconds = await measured()
    assert count == before[0] + 1
    assert 0.19 <= seconds - before[1] <= time.monotonic() - began + 0.01
