"""Every door locked: tokens, verbs, scopes, hosts, headers, and nothing said without a token."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.conftest import RunningHub
from tests.integration.test_config_documents import assert_problem, path, put

VARIANTS = [
    "/{0}",
    "//{0}",
    "/{0}/",
    "/./{0}",
    "/x/../{0}",
    "/%2e/{0}",
    "/{0};x=1",
    "/{0}%00",
    "/{0}%2f",
    "/api/{0}",
    "/api/v1/{0}",
    "/api//v1/{0}",
    "/api/v1//{0}",
    "/API/V1/{0}",
    "/api%2fv1%2f{0}",
]
ROUTES = [
    "config/",
    "config/some",
    "config/watch",
    "config/history/some",
    "config/databases/all",
    "config/database/some",
    "config/messaging/some",
    "alerts/notifications",
    "infrastructure/",
    "infrastructure/some",
    "alerts",
    "tokens",
    "audit",
    "keys",
    "metrics",
    "health",
    "infrastructure/some/dependents",
    "infrastructure/some/impact",
    "dashboard/health",
    "dashboard/summary",
    "dashboard/dependencies",
]


async def raw_get(hub: RunningHub, target: str, *headers: str) -> int:
    """The status of a GET with exactly this target: clients normalise, attackers do not."""

    host, _, port = hub.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}:{port}", "Connection: close", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    status = await reader.readline()
    await reader.read()
    writer.close()
    return int(status.split()[1])


@pytest.mark.parametrize("variant", VARIANTS)
async def test_without_a_token_no_spelling_of_any_route_answers(hub: RunningHub, variant: str) -> None:
    for route in [*ROUTES, "docs", "openapi.json", "health/live/", "health/ready;x"]:
        target = variant.format(route)
        assert await raw_get(hub, target) in (401, 400), target


async def test_only_live_and_ready_answer_without_a_token_and_say_nothing_else(hub: RunningHub) -> None:
    for prefix in ("", "/api", "/api/v1"):
        async with hub.client(None) as client:
            assert (await client.get(f"{prefix}/health/live")).json() == {"state": "live"}
            assert (await client.get(f"{prefix}/health/ready")).json() == {"state": "ready"}
            assert_problem(await client.get(f"{prefix}/health"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic eDp5", "bearer\x00x", "Bearer " + "x" * 5000]
)
async def test_a_wrong_credential_is_refused(hub: RunningHub, authorization: str) -> None:
    async with httpx2.AsyncClient(base_url=hub.url) as client:
        try:
            answer = await client.get("/api/v1/config/", headers={"Authorization": authorization})
        except httpx2.HTTPError:
            return
        assert answer.status_code in (400, 401)


async def test_a_token_in_the_query_opens_nothing(hub: RunningHub) -> None:
    async with hub.client(None) as client:
        answer = await client.get("/api/v1/keys", params={"token": hub.token, "access_token": hub.token})
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


OPERATIONS: list[tuple[str, str, str, Any]] = [
    ("read", "GET", "/api/v1/config/{s}", None),
    ("read", "GET", "/api/v1/config/{s}?explain=true", None),
    ("read", "GET", "/api/v1/config/{s}?at=1", None),
    ("read", "GET", "/api/v1/config/{s}?after=0", None),
    ("read", "GET", "/api/v1/config/{s}?own=true", None),
    ("read", "GET", "/api/v1/config/history/{s}", None),
    ("read", "GET", "/api/v1/config/diff/{s}", None),
    ("read", "GET", "/api/v1/config/watch?service={s}", None),
    ("write", "PUT", "/api/v1/config/{s}", {"a": 1}),
    ("write", "POST", "/api/v1/config/{s}", {"config": {"a": 1}}),
    ("write", "POST", "/api/v1/config/rollback/{s}", {"revision": 1}),
    ("write", "DELETE", "/api/v1/config/{s}", None),
]


@pytest.mark.parametrize(("verb", "method", "target", "body"), OPERATIONS)
async def test_every_path_decides_by_the_same_verb_and_scope(
    hub: RunningHub, service_name: str, verb: str, method: str, target: str, body: Any
) -> None:
    await put(hub, service_name, {"a": 1})
    other_verb = "write" if verb == "read" else "read"
    refused = [
        {"verbs": [other_verb, "register", "force", "approve"]},
        {"verbs": [verb], "services": ["other-*"]},
        {"verbs": [verb], "environments": ["staging"]},
        {"verbs": [verb], "services": []},
    ]
    for fields in refused:
        async with hub.client(await hub.new_token(**fields)) as client:
            answer = await client.request(method, target.format(s=service_name), json=body)
            assert_problem(answer, 403, "forbidden")
    async with (
        hub.client(await hub.new_token(verbs=[verb], services=["svc-*"])) as client,
        client.stream(method, target.format(s=service_name), json=body) as answer,
    ):
        assert answer.status_code not in (401, 403)


async def test_a_star_does_not_cover_the_global_document(hub: RunningHub) -> None:
    await hub.http.post("/api/v1/config/_global", json={"config": {"x": 1}, "mode": "merge"})
    async with hub.client(await hub.new_token()) as client:
        assert_problem(await client.get("/api/v1/config/"), 403, "forbidden")
        assert_problem(await client.get("/api/v1/config/_global"), 403, "forbidden")
    async with hub.client(await hub.new_token(services=["_global"])) as client:
        assert (await client.get("/api/v1/config/")).status_code == 200


async def test_tokens_are_shown_once_listed_without_themselves_and_revoked(hub: RunningHub) -> None:
    created = await hub.http.post(
        "/api/v1/tokens", json={"name": "x", "verbs": ["read"], "services": ["*"], "environments": ["*"]}
    )
    assert created.status_code == 201
    token, token_id = created.json()["token"], created.json()["id"]
    listed = await hub.http.get("/api/v1/tokens")
    assert token not in listed.text
    assert token_id in {entry["id"] for entry in listed.json()["tokens"]}
    async with hub.client(token) as client:
        assert (await client.get("/api/v1/keys")).status_code == 200
        assert_problem(await client.get("/api/v1/tokens"), 403, "forbidden")
        assert_problem(await client.get("/api/v1/audit"), 403, "forbidden")
        assert (await hub.http.delete(f"/api/v1/tokens/{token_id}")).status_code == 204
        assert_problem(await client.get("/api/v1/keys"), 401, "unauthenticated")
    assert_problem(await hub.http.delete(f"/api/v1/tokens/{token_id}"), 404, "not_found")


async def test_an_expired_token_opens_nothing(hub: RunningHub) -> None:
    token = await hub.new_token(expires_at="2020-01-01T00:00:00Z")
    async with hub.client(token) as client:
        assert_problem(await client.get("/api/v1/keys"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "fields",
    [
        {"verbs": []},
        {"verbs": ["rule"]},
        {"services": ["a b"]},
        {"services": ["(a+)+$"]},
        {"name": ""},
        {"name": "a\nb"},
        {"id": "mine"},
        {"expires_at": "tomorrow"},
        {"expires_at": "2030-01-01T00:00:00"},
    ],
)
async def test_a_malformed_token_request_is_refused(hub: RunningHub, fields: dict[str, Any]) -> None:
    body = {"name": "x", "verbs": ["read"], "services": ["*"], "environments": ["*"]} | fields
    assert_problem(await hub.http.post("/api/v1/tokens", json=body), 422, "invalid_request")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "[::1", "a b"])
async def test_a_foreign_host_is_refused_also_with_a_token(hub: RunningHub, host: str) -> None:
    target = "/api/v1/keys"

    address, _, port = hub.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {hub.token}\r\n\r\n".encode())
    status = (await reader.readline()).split()[1]
    writer.close()
    assert status in (b"421", b"400")


async def test_every_answer_carries_security_headers_and_a_request_id(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    for target in (path(service_name), "/nothing", "/api/v1/keys", "/docs", "/api/v1/config/A"):
        answer = await hub.http.get(target, headers={"X-Request-Id": "mine-1"})
        assert answer.headers["x-content-type-options"] == "nosniff", target
        assert answer.headers["x-request-id"] == "mine-1"
        assert "server" not in answer.headers
    unsafe = await hub.http.get("/api/v1/keys", headers={"X-Request-Id": "a b<script>"})
    assert unsafe.headers["x-request-id"] != "a b<script>"


async def test_nothing_sensitive_is_logged(
    hub: RunningHub, service_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "AKIA" + "ABCDEFGHIJKLMNOP"
    await put(hub, service_name, {"key": secret})
    await hub.http.get("/api/v1/keys", params={"token": secret})
    await put(hub, service_name, {"a": 1}, params={"reason": "because-of-this"})
    logged = "".join(capsys.readouterr())
    assert "request" in logged
    for word in (secret, hub.token, "because-of-this"):
        assert word not in logged


async def test_a_credential_is_refused_with_its_place_and_kind_and_echoed_nowhere(
    hub: RunningHub, service_name: str
) -> None:
    secret = "AKIA" + "ABCDEFGHIJKLMNOP"
    refusals = [
        await put(hub, service_name, {"deep": [{"key": secret}]}),
        await hub.http.post(path(service_name), json={"config": {"deep": [{"key": secret}]}, "mode": "merge"}),
        await hub.http.post(
            "/api/v1/config/update",
            json={"service": service_name, "config": {"deep": [{"key": secret}]}},
            headers={"Idempotency-Key": "k"},
        ),
    ]
    for refused in refusals:
        problem = assert_problem(refused, 422, "secret_rejected")
        assert problem["errors"][0]["pointer"] == "/deep/0/key"
        assert secret not in refused.text
    in_reason = await put(hub, service_name, {"a": 1}, params={"reason": f"use {secret}"})
    assert_problem(in_reason, 422, "secret_rejected")
    assert_problem(await hub.http.get(path(service_name)), 404, "not_found")
    assert secret not in (await hub.http.get("/api/v1/audit")).text
    assert secret not in (await hub.http.get("/metrics")).text
