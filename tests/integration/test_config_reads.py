"""Layers, explanations, the past, conditional and waiting reads."""

import asyncio
import json
import time
from typing import Any

import pytest

from tests.conftest import RunningHub
from tests.integration.test_config_documents import assert_problem, own_etag, path, put


@pytest.fixture
async def layered(hub: RunningHub, service_name: str) -> dict[str, int]:
    """Four layers under one service, and the revisions that they have."""
    revisions = {}
    documents: list[tuple[str, str, dict[str, Any]]] = [
        ("_global", "default", {"log": {"level": "INFO", "format": "json"}, "limit": 1}),
        ("_global", "staging", {"log": {"level": "DEBUG"}}),
        (service_name, "default", {"limit": 2, "own": {"a": [1, 2]}, "nothing": 1}),
        (service_name, "staging", {"own": {"a": [3]}, "nothing": None}),
    ]
    for service, environment, config in documents:
        answer = await hub.http.post(
            "/api/v1/config/update",
            json={"service": service, "environment": environment, "config": config, "allow": ["removals"]},
        )
        assert answer.status_code == 200, answer.text
        revisions[f"{service}@{environment}"] = answer.json()["revision"]
    return revisions


async def test_layers_merge_key_by_key_and_the_environment_wins(
    hub: RunningHub, service_name: str, layered: dict[str, int]
) -> None:
    base = (await hub.http.get(path(service_name))).json()
    assert base["config"] == {
        "log": {"level": "INFO", "format": "json"},
        "limit": 2,
        "own": {"a": [1, 2]},
        "nothing": 1,
    }
    staging = (await hub.http.get(path(service_name), params={"environment": "staging"})).json()
    assert staging["config"] == {
        "log": {"level": "DEBUG", "format": "json"},
        "limit": 2,
        "own": {"a": [3]},
        "nothing": None,
    }
    assert staging["revision"] == max(layered.values())
    inherited = (await hub.http.get(path(service_name), params={"environment": "production"})).json()
    assert inherited["config"] == base["config"]
    assert inherited["environment"] == "production"


async def test_explain_names_the_layer_of_every_leaf(
    hub: RunningHub, service_name: str, layered: dict[str, int]
) -> None:
    answer = await hub.http.get(path(service_name), params={"environment": "staging", "explain": "true"})
    provenance = answer.json()["provenance"]
    assert {pointer: source["layer"] for pointer, source in provenance.items()} == {
        "/log/level": "_global@staging",
        "/log/format": "_global@default",
        "/limit": f"{service_name}@default",
        "/own/a": f"{service_name}@staging",
        "/nothing": f"{service_name}@staging",
    }
    assert provenance["/own/a"]["revision"] == layered[f"{service_name}@staging"]
    assert provenance["/own/a"]["changed_by"] == "admin"


async def test_a_global_change_moves_every_service_and_says_what_came_before(
    hub: RunningHub, service_name: str, layered: dict[str, int]
) -> None:
    before = (await hub.http.get(path(service_name))).json()
    changed = await hub.http.post("/api/v1/config/_global", json={"config": {"limit": 7}, "mode": "merge"})
    after = (await hub.http.get(path(service_name))).json()
    assert after["revision"] == changed.json()["revision"]
    assert after["previous_revision"] == before["revision"]
    own = (await hub.http.get(path(service_name), params={"own": "true"})).json()
    assert own["revision"] == layered[f"{service_name}@default"]


async def test_a_global_document_alone_makes_no_service_exist(hub: RunningHub, layered: dict[str, int]) -> None:
    assert_problem(await hub.http.get(path("never-written")), 404, "not_found")
    globals_ = await hub.http.get("/api/v1/config/")
    assert globals_.json()["service"] == "_global"


async def test_an_unchanged_config_is_a_304_on_the_hot_path_and_on_the_full_one(
    hub: RunningHub, service_name: str
) -> None:
    await put(hub, service_name, {"a": 1})
    full = await hub.http.get(path(service_name), headers={"X-Request-Id": "takes-the-full-path"})
    hot = await hub.http.get(path(service_name))
    assert (hot.content, hot.headers["etag"]) == (full.content, full.headers["etag"])
    etag = hot.headers["etag"]
    for tag in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        for extra in ({}, {"X-Request-Id": "full"}):
            answer = await hub.http.get(path(service_name), headers={"If-None-Match": tag, **extra})
            assert (answer.status_code, answer.content) == (304, b""), (tag, extra)
            assert answer.headers["etag"] == etag
    assert (await hub.http.get(path(service_name), headers={"If-None-Match": '"1.1.0"'})).status_code == 200


async def test_a_config_is_read_as_it_was_at_a_revision_and_at_a_time(hub: RunningHub, service_name: str) -> None:
    first = (await put(hub, service_name, {"a": 1})).json()["revision"]
    await asyncio.sleep(0.01)
    between = (await hub.http.get(f"/api/v1/config/history/{service_name}")).json()["history"][0]["changed_at"]
    await put(hub, service_name, {"a": 2}, headers={"If-Match": await own_etag(hub, service_name)})
    for at in (str(first), f"1.{first}", between):
        past = await hub.http.get(path(service_name), params={"at": at})
        assert past.json()["config"]["a"] == 1, at
        assert past.json()["revision"] == first
    assert_problem(await hub.http.get(path(service_name), params={"at": "2000-01-01T00:00:00Z"}), 404, "not_found")
    assert_problem(await hub.http.get(path(service_name), params={"at": "999999999"}), 404, "not_found")
    for bad in ("yesterday", "2026-01-01T00:00:00", "-1", "1.2.3"):
        assert_problem(await hub.http.get(path(service_name), params={"at": bad}), 422, "invalid_request")


async def test_history_is_newest_first_and_paged(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"n": 0})
    for number in range(1, 5):
        await hub.http.post(path(service_name), json={"config": {"n": number}, "reason": f"step {number}"})
    seen: list[Any] = []
    before: dict[str, str] = {}
    while True:
        page = (
            await hub.http.get(
                f"/api/v1/config/history/{service_name}", params={"limit": 2, "include": "config", **before}
            )
        ).json()
        seen += page["history"]
        if page["next"] is None:
            break
        before = {"before": f"1.{page['next']}"}
    assert [entry["config"]["n"] for entry in seen] == [4, 3, 2, 1, 0]
    assert [entry["reason"] for entry in seen] == ["step 4", "step 3", "step 2", "step 1", None]
    assert seen[0]["changes"] == [{"op": "replace", "path": "/n", "old": 3, "new": 4}]
    assert_problem(await hub.http.get("/api/v1/config/history/never-written"), 404, "not_found")


async def test_a_diff_is_given_for_people_and_as_a_json_patch(hub: RunningHub, service_name: str) -> None:
    first = (await put(hub, service_name, {"a": {"b~/c": 1}, "gone": 1})).json()["revision"]
    await put(
        hub, service_name, {"a": {"b~/c": 2}, "new": [1]}, headers={"If-Match": await own_etag(hub, service_name)}
    )
    answer = (await hub.http.get(f"/api/v1/config/diff/{service_name}", params={"from": first})).json()
    assert answer["changes"] == [
        {"op": "replace", "path": "/a/b~0~1c", "old": 1, "new": 2},
        {"op": "remove", "path": "/gone", "old": 1},
        {"op": "add", "path": "/new", "new": [1]},
    ]
    default = (await hub.http.get(f"/api/v1/config/diff/{service_name}")).json()
    assert default["changes"] == answer["changes"]
    backwards = await hub.http.get(
        f"/api/v1/config/diff/{service_name}", params={"from": answer["to"], "to": answer["from"]}
    )
    await hub.http.patch(
        path(service_name),
        content=json.dumps(backwards.json()["patch"]),
        headers={"Content-Type": "application/json-patch+json"},
    )
    own = await hub.http.get(path(service_name), params={"own": "true"})
    assert own.json()["config"] == {"a": {"b~/c": 1}, "gone": 1}


async def test_a_long_poll_waits_for_the_next_change(hub: RunningHub, service_name: str) -> None:
    revision = (await put(hub, service_name, {"a": 1})).json()["revision"]
    at_once = await hub.http.get(path(service_name), params={"after": revision - 1, "wait": 20})
    assert at_once.json()["revision"] == revision
    waiting = asyncio.create_task(hub.http.get(path(service_name), params={"after": revision, "wait": 20}))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await hub.http.post(path(service_name), json={"config": {"a": 2}})
    assert (await waiting).json()["config"]["a"] == 2
    started = time.monotonic()
    nothing = await hub.http.get(path(service_name), params={"after": revision + 1000, "wait": 0.3})
    assert nothing.status_code == 304
    assert 0.25 < time.monotonic() - started < 5


async def test_a_read_never_answers_with_less_than_the_minimum_revision(hub: RunningHub, service_name: str) -> None:
    revision = (await put(hub, service_name, {"a": 1})).json()["revision"]
    fresh = await hub.http.get(path(service_name), headers={"X-Hub-Min-Revision": f"1.{revision}"})
    assert fresh.status_code == 200
    behind = await hub.http.get(path(service_name), headers={"X-Hub-Min-Revision": f"1.{revision + 1000}"})
    assert_problem(behind, 503, "replica_behind")
    assert "retry-after" in behind.headers


async def test_the_old_prefix_answers_the_same_with_a_note(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    new = await hub.http.get(path(service_name))
    old = await hub.http.get(f"/api/config/{service_name}")
    assert (old.status_code, old.content, old.headers["etag"]) == (200, new.content, new.headers["etag"])
    assert old.headers["deprecation"].startswith("@")
    assert old.headers["sunset"].endswith("GMT")
    assert old.headers["link"] == f'</api/v1/config/{service_name}>; rel="successor-version"'
    assert "deprecation" not in new.headers
    assert (await hub.http.get("/api/health")).json()["state"] == "healthy"


async def test_a_misspelled_parameter_is_refused_instead_of_acting_on_default(
    hub: RunningHub, service_name: str
) -> None:
    await put(hub, service_name, {"a": 1})
    assert_problem(await hub.http.get(path(service_name), params={"enviroment": "staging"}), 422, "invalid_request")
    answer = await hub.http.post(f"{path(service_name)}?environment=staging", json={"config": {"a": 2}})
    assert_problem(answer, 422, "invalid_request")
