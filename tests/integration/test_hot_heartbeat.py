"""The heartbeat in front of the framework does and answers what the one behind it would."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import RunningHub
from tests.integration.instances import Incarnation, beat, instance_path, listed, register, status

TARGET = "/api/v1/discovery/heartbeat"
PATHS = {"hot": {}, "full": {"X-Request-Id": "the-full-stack"}}
"""Headers that make a request take the one way or the other."""


def counted(exposition: str) -> float:
    prefix = 'central_hub_requests_total{method="POST",route="/discovery/heartbeat",status="200"}'
    return sum(float(line.rpartition(" ")[2]) for line in exposition.splitlines() if line.startswith(prefix))


@pytest.mark.parametrize("way", PATHS)
async def test_both_ways_take_all_that_a_heartbeat_tells(hub: RunningHub, service_name: str, way: str) -> None:
    made = await register(hub.http, service_name)
    told = {
        "state": "draining",
        "applied": {"epoch": 1, "revision": 3},
        "rejected": {"epoch": 1, "revision": 4, "reason": "no"},
        "report": {"unread": ["a.b"], "unknown": ["/c"]},
    }
    answer = await hub.http.post(TARGET, json=made.heartbeat(**told), headers=PATHS[way])
    assert (answer.status_code, answer.json()) == (200, {"lease_seconds": 30, "drain": False})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/json"
    [found] = await listed(hub, service_name)
    assert found["state"] == "draining"
    [instance] = (await status(hub, service_name))["instances"]
    assert (instance["applied_revision"], instance["rejected_revision"]) == (3, 4)
    assert (instance["unread_keys"], instance["unknown_keys"]) == (["/a/b"], ["/c"])


@pytest.mark.parametrize("way", PATHS)
async def test_both_ways_tell_an_instance_that_it_is_drained(hub: RunningHub, service_name: str, way: str) -> None:
    made = await register(hub.http, service_name)
    for drain in (True, False):
        ordered = await hub.http.put(instance_path(service_name), json={"drain": drain})
        assert ordered.status_code == 200, ordered.text
        answer = await hub.http.post(TARGET, json=made.heartbeat(), headers=PATHS[way])
        assert (answer.status_code, answer.json()) == (200, {"lease_seconds": 30, "drain": drain})


async def test_the_one_in_front_is_the_one_that_is_taken(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    assert "x-request-id" not in (await beat(hub.http, made)).headers
    full = await hub.http.post(TARGET, json=made.heartbeat(), headers=PATHS["full"])
    assert full.headers["x-request-id"] == "the-full-stack"


async def test_both_ways_refuse_the_same_for_the_same_reason(hub: RunningHub, service_name: str) -> None:
    old = await register(hub.http, service_name)
    made = await register(hub.http, service_name)
    elsewhere = await hub.new_token(verbs=["register"], environments=["staging"])
    tokens = {
        "admin": hub.token,
        "unknown": "chub_unknown",
        "reads": await hub.new_token(),
        "elsewhere": elsewhere,
        "other": await hub.new_token(verbs=["register"], services=["other"]),
        "expired": await hub.new_token(verbs=["register"], expires_at="2020-01-01T00:00:00Z"),
    }
    sound = json.dumps(made.heartbeat()).encode()
    forged = [
        old,
        Incarnation(service_name, "one", 2, "guessed"),
        Incarnation(service_name, "one", 3, made.secret),
        Incarnation(service_name, "nobody", 2, made.secret),
        Incarnation("_global", "one", 2, made.secret),
        Incarnation("a.b", "one", 2, made.secret),
    ]
    bodies = [json.dumps(incarnation.heartbeat()).encode() for incarnation in forged]
    bodies += [
        json.dumps(made.heartbeat(**told)).encode()
        for told in ({"state": "expired"}, {"applied": {"epoch": 1}}, {"report": {"unread": "x"}}, {"generation": 2.5})
    ]
    bodies += [b"", b"{", b"[]", b'{"a":1,"a":2}', sound[:-1], b"\xef\xbb\xbf" + sound, sound + b" " * 2_000_000]
    requests: list[tuple[str, bytes, dict[str, str], str]] = [("admin", body, {}, "") for body in bodies]
    requests += [(token, sound, {}, "") for token in tokens]
    requests += [
        ("admin", sound, headers, "")
        for headers in (
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/json; charset=utf-8"},
            {"Content-Encoding": "gzip"},
            {"Host": "elsewhere.example"},
        )
    ]
    requests += [("admin", sound, {}, "?x=1"), ("admin", sound, {}, "?environment=default")]
    for token, body, headers, query in requests:
        answers = {}
        for way, more in PATHS.items():
            async with hub.client(tokens[token]) as client:
                answer = await client.post(
                    TARGET + query, content=body, headers={"Content-Type": "application/json"} | headers | more
                )
            answers[way] = (answer.status_code, answer.json())
        assert answers["hot"] == answers["full"], (token, body[:80], headers, query)


async def test_an_old_and_a_new_token_are_told_apart_at_once(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    created = await hub.http.post(
        "/api/v1/tokens", json={"name": "x", "verbs": ["register"], "services": ["svc-*"], "environments": ["*"]}
    )
    async with hub.client(created.json()["token"]) as client:
        assert (await beat(client, made)).status_code == 200
        assert (await hub.http.delete(f"/api/v1/tokens/{created.json()['id']}")).status_code == 204
        assert (await beat(client, made)).status_code == 401


async def test_a_heartbeat_that_comes_in_pieces_is_taken_too(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    body = json.dumps(made.heartbeat(state="unhealthy")).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 40):
            yield body[start : start + 40]
            await asyncio.sleep(0.01)

    for headers in ({"Content-Length": str(len(body))}, {}):  # the second one is chunked
        answer = await hub.http.post(TARGET, content=pieces(), headers={"Content-Type": "application/json"} | headers)
        assert answer.status_code == 200, answer.text
    assert [found["state"] for found in await listed(hub, service_name)] == ["unhealthy"]


async def test_both_ways_are_counted(hub: RunningHub, service_name: str) -> None:
    made = await register(hub.http, service_name)
    before = counted((await hub.http.get("/metrics")).text)
    more: list[dict[str, Any]] = [dict(headers) for headers in PATHS.values()]
    for headers in more * 2:
        assert (await hub.http.post(TARGET, json=made.heartbeat(), headers=headers)).status_code == 200
    assert counted((await hub.http.get("/metrics")).text) - before == 4
