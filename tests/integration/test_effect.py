"""Effect before cause: what a change would do is told before it is made, and what is done by accident is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.conftest import RunningHub
from tests.integration.instances import beat, register
from tests.integration.test_cli import Run, cli
from tests.integration.test_schemas import MERGE_PATCH, stored, update

__all__ = ["cli"]

LARGE = {f"key_{number}": number for number in range(30)}


async def effect(hub: RunningHub, service: str, config: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await hub.http.post(
        f"/api/v1/config/validate/{service}", json={"config": config, "mode": "merge"} | fields
    )
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()["effect"]
    return told


def refused_by(answer: httpx2.Response, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (409, code), answer.text
    problem: dict[str, Any] = answer.json()
    return problem


async def test_whom_a_change_reaches_is_told_by_service_environment_and_number_of_instances(
    hub: RunningHub, service_name: str
) -> None:
    await stored(hub, service_name, {"a": 1, "b": 1})
    await stored(hub, service_name, {"b": 2}, environment="live")
    await register(hub.http, service_name, "one")
    await register(hub.http, service_name, "two", environment="live")
    await register(hub.http, service_name, "three", environment="without-documents")
    told = await effect(hub, service_name, {"a": 2, "b": 3})
    reached = {
        config["environment"]: ([change["path"] for change in config["changes"]], config["instances"])
        for config in told["configs"]
    }
    assert reached == {"default": (["/a", "/b"], 1), "live": (["/a"], 1), "without-documents": (["/a", "/b"], 1)}
    assert told["instances"] == 3
    live = await effect(hub, service_name, {"a": 2}, environment="live")
    assert [config["environment"] for config in live["configs"]] == ["live"]
    dry = await update(hub, service_name, {"a": 2, "b": 3}, dry_run=True)
    assert dry.json()["effect"] == told
    assert "effect" not in (await update(hub, service_name, {"a": 2})).json()


async def test_keys_that_nobody_reads_and_keys_that_are_hidden_are_told(hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"a": 1, "b": {"c": 1, "d": 1}, "e": 1})
    for instance, shadowed in (("one", ["/b/d"]), ("two", [])):
        made = await register(hub.http, service_name, instance)
        report = {"unread": ["/a"], "shadowed": shadowed}
        await beat(hub.http, made, applied={"epoch": 1, "revision": 1}, report=report)
    [config] = (await effect(hub, service_name, {"a": 2, "b": {"c": 2, "d": 2}}))["configs"]
    assert config["unread"] == ["/a"]
    assert config["shadowed"] == [{"path": "/b/d", "instances": 1}]


async def test_size_and_shape_are_told(hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"a": 1, "gone": True})
    told = await effect(hub, service_name, {"a": "x", "b": {"c": 1}}, mode="replace", allow=["removals"])
    assert told["size"] == {
        "bytes": {"before": len('{"a":1,"gone":true}'), "after": len('{"a":"x","b":{"c":1}}')},
        "keys": {"before": 2, "after": 3},
        "depth": {"before": 1, "after": 2},
    }
    assert told["shape"] == {
        "added": 1,
        "removed": 1,
        "replaced": 1,
        "retyped": [{"path": "/a", "old": "number", "new": "text"}],
    }
    nothing = await effect(hub, service_name, {"a": 1})
    assert (nothing["configs"], nothing["instances"], nothing["size"]) == ([], 0, None)


async def test_a_change_for_all_tells_each_only_of_what_he_covers(hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"a": 1})
    token = await hub.new_token(verbs=["write"], services=["_global", service_name])
    body = {"config": {f"shared-{service_name}": 1}, "mode": "merge"}
    answer = await hub.client(token).post("/api/v1/config/validate/_global", json=body)
    told = answer.json()["effect"]
    assert [config["service"] for config in told["configs"]] == [service_name]
    all_of_it = await effect(hub, "_global", body["config"])
    assert len(all_of_it["configs"]) == 1 + told["further_configs"] > 1


@pytest.mark.parametrize("change", ["emptied", "halved", "doubled"])
async def test_a_document_is_not_emptied_halved_or_doubled_by_accident(
    hub: RunningHub, service_name: str, change: str
) -> None:
    await stored(hub, service_name, LARGE)
    half = dict(list(LARGE.items())[:14])
    config = {"emptied": {}, "halved": half, "doubled": LARGE | {f"more_{number}": 1 for number in range(31)}}[change]
    path = f"/api/v1/config/{service_name}"
    problem = refused_by(await hub.http.put(path, json=config, headers={"If-Match": "*"}), "delta_not_allowed")
    assert problem["size"]["keys"] == {"before": 30, "after": len(config)}
    patch = {key: None for key in LARGE if key not in config} | config
    refused_by(await hub.http.patch(path, json=patch, headers=MERGE_PATCH), "delta_not_allowed")
    refused_by(await update(hub, service_name, config, mode="replace", allow=["removals"]), "delta_not_allowed")
    allowed = await hub.http.put(path, json=config, headers={"If-Match": "*"}, params={"allow": "delta"})
    assert allowed.status_code == 200, allowed.text


async def test_a_small_document_and_a_rollback_may_grow_and_shrink(hub: RunningHub, service_name: str) -> None:
    first = await stored(hub, service_name, {"a": 1})
    assert (await update(hub, service_name, LARGE)).status_code == 200
    answer = await hub.http.post(f"/api/v1/config/rollback/{service_name}", json={"revision": first})
    assert answer.status_code == 200, answer.text


async def test_a_deleted_key_comes_back_as_what_it_was(hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"a": {"b": 1}, "x": 1})
    path = f"/api/v1/config/{service_name}"
    assert (await hub.http.patch(path, json={"a": None}, headers=MERGE_PATCH)).status_code == 200
    assert (await update(hub, service_name, {"x": 2})).status_code == 200
    problem = refused_by(await update(hub, service_name, {"a": {"b": "text"}}), "type_reuse")
    assert [error["pointer"] for error in problem["errors"]] == ["/a/b"]
    refused_by(await update(hub, service_name, {"a": [1]}), "type_reuse")
    assert (await update(hub, service_name, {"a": {"b": 2.5, "c": "new"}})).status_code == 200
    etag = (await hub.http.get(path, params={"own": "true"})).headers["etag"]
    assert (await hub.http.delete(path, headers={"If-Match": etag})).status_code == 200
    refused_by(await hub.http.put(path, json={"x": "text"}), "type_reuse")
    assert (await hub.http.put(path, json={"x": "text"}, params={"allow": "type_reuse"})).status_code == 200


async def test_a_change_of_a_key_that_nobody_touched_for_half_a_year_is_a_warning(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored(hub, service_name, {"old": 1, "b": {"c": 1}})
    assert (await update(hub, service_name, {"old": 2})).json()["warnings"] == []
    now = datetime.now(UTC)
    monkeypatch.setattr(hub.service.store, "_clock", lambda: now + timedelta(days=181))
    dry = await update(hub, service_name, {"old": 3}, dry_run=True)
    assert [warning["pointer"] for warning in dry.json()["warnings"]] == ["/old"]
    assert dry.json()["warnings"][0]["message"] == "was not touched for 180 days"
    assert (await update(hub, service_name, {"old": 3, "new": 1})).json()["warnings"] == dry.json()["warnings"]
    both = await update(hub, service_name, {"old": 4, "b": {"c": 2}})
    assert [warning["pointer"] for warning in both.json()["warnings"]] == ["/b/c"]


async def test_what_a_change_would_do_is_shown_before_it_is_made(cli: Run, hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"a": 1, "b": 1})
    made = await register(hub.http, service_name)
    report = {"unread": ["/a"], "shadowed": ["/b"]}
    await beat(hub.http, made, applied={"epoch": 1, "revision": 1}, report=report)
    shown = await cli("set", service_name, "a=2", "b=text")
    assert shown.code == 0, shown.err
    lines = [line.strip() for line in shown.out.splitlines()]
    assert f"reaches 1 instance: {service_name} in environment default (1 instance)" in lines
    assert f"no instance of {service_name} in environment default reads a" in lines
    assert f"b is hidden by settings of their own at 1 of 1 instance of {service_name} in environment default" in lines
    assert "b would be text and was number" in lines
    assert "bytes 13 → 18, keys 2 → 2" in lines
    assert lines.index("bytes 13 → 18, keys 2 → 2") < next(i for i, line in enumerate(lines) if "updated" in line)
