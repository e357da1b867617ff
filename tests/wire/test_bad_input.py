"""What must never get in, each with the answer that it gets, on the real wire."""

import gzip
import json
import time

import httpx2
import pytest

from tests.conftest import RunningHub
from tests.integration.test_config_documents import assert_problem, path

JSON = {"Content-Type": "application/json"}
FAST_SECONDS = 0.5  # the promise is 50 ms of work; a loaded machine and a round trip come on top

BODIES: dict[str, tuple[bytes, int, str]] = {
    "nested 100,000 deep": (b"[" * 100_000 + b"]" * 100_000, 422, "limit_exceeded"),
    "objects nested 33 deep": (b'{"a":' * 33 + b"1" + b"}" * 33, 422, "limit_exceeded"),
    "a million empty objects": (b"[" + b"{}," * 300_000 + b"{}]", 422, "limit_exceeded"),
    "more than a megabyte": (b'{"a":"' + b"x" * 1_100_000 + b'"}', 413, "too_large"),
    "a 5,000-digit integer": (b'{"a":' + b"9" * 5_000 + b"}", 400, "malformed_json"),
    "2^53+1": (b'{"a":9007199254740993}', 400, "malformed_json"),
    "2^64+1": (b'{"a":18446744073709551617}', 400, "malformed_json"),
    "1e400": (b'{"a":1e400}', 400, "malformed_json"),
    "NaN": (b'{"a":NaN}', 400, "malformed_json"),
    "Infinity": (b'{"a":-Infinity}', 400, "malformed_json"),
    "duplicate keys": (b'{"a":1,"a":2}', 400, "malformed_json"),
    "NUL": (b'{"a":"\\u0000"}', 400, "malformed_json"),
    "a lone surrogate": (b'{"a":"\\ud800"}', 400, "malformed_json"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), 400, "malformed_json"),
    "a byte order mark": (b'\xef\xbb\xbf{"a":1}', 400, "malformed_json"),
    "not UTF-8": (b'{"a":"\xff"}', 400, "malformed_json"),
    "cut off": (b'{"a":', 400, "malformed_json"),
    "nothing": (b"", 400, "malformed_json"),
    "two documents": (b"{}{}", 400, "malformed_json"),
    "a string of 300 KiB": (b'{"a":"' + b"x" * 300 * 1024 + b'"}', 422, "limit_exceeded"),
    "a key of 129 characters": (b'{"' + b"k" * 129 + b'":1}', 422, "limit_exceeded"),
    "more than 50,000 values": (b'{"a":[' + b"1," * 50_000 + b"1]}", 422, "limit_exceeded"),
}


@pytest.mark.parametrize("what", BODIES)
async def test_a_body_that_is_not_a_sound_document_is_refused_quickly(
    hub: RunningHub, service_name: str, what: str
) -> None:
    body, status, code = BODIES[what]
    started = time.monotonic()
    answer = await hub.http.put(path(service_name), content=body, headers=JSON)
    assert time.monotonic() - started < FAST_SECONDS
    assert_problem(answer, status, code)
    assert_problem(await hub.http.get(path(service_name)), 404, "not_found")


async def test_the_limits_themselves_are_allowed(hub: RunningHub, service_name: str) -> None:
    document = {"long": "x" * 256 * 1024, "k" * 128: 1, "deep": json.loads("[" * 31 + "]" * 31)}
    assert (await hub.http.put(path(service_name), json=document)).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["a.>", "*", ">", "$SYS", "_INBOX", "a b", "a\r\nPUB x", "a\n", "x" * 5000, "A", "-a", "a-", "", "é", "update"],
)
async def test_a_bad_name_is_refused_wherever_it_stands(hub: RunningHub, name: str) -> None:
    update = {"service": name, "config": {"a": 1}}
    assert_problem(await hub.http.post("/api/v1/config/update", json=update), 422, "invalid_name")
    update = {"service": "fine", "environment": name, "config": {"a": 1}}
    if name != "update":
        assert_problem(await hub.http.post("/api/v1/config/update", json=update), 422, "invalid_name")
        answer = await hub.http.get(path("fine"), params={"environment": name})
        assert_problem(answer, 422, "invalid_name")
        answer = await hub.http.get("/api/v1/config/watch", params={"service": "fine", "environment": name})
        assert_problem(answer, 422, "invalid_name")


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "..", "a%00", "a%0d%0aX-Evil:1", "%5cwindows"])
async def test_a_path_that_climbs_or_breaks_lines_finds_nothing(hub: RunningHub, name: str) -> None:
    answer = await hub.http.get(f"/api/v1/config/{name}")
    assert answer.status_code in (404, 422)
    assert "x-evil" not in answer.headers


async def test_the_path_of_a_later_route_answers_404(hub: RunningHub) -> None:
    target = "/api/v1/coordination/workflows"
    assert_problem(await hub.http.get(target), 404, "not_found")
    assert_problem(await hub.http.post(target, json={}), 404, "not_found")


async def test_the_words_of_routes_are_no_services(hub: RunningHub) -> None:
    for word in ("transaction", "rollback"):
        assert_problem(await hub.http.put(f"/api/v1/config/{word}", json={}), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "field", ["revision", "epoch", "updated_by", "changed_by", "hash", "hub_id", "author", "created_at"]
)
async def test_a_field_that_belongs_to_the_server_is_refused(hub: RunningHub, service_name: str, field: str) -> None:
    answer = await hub.http.post(path(service_name), json={"config": {"a": 1}, field: "x"})
    assert_problem(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    "update",
    [
        {"config": []},
        {"config": {"a": 1}, "mode": "replce"},
        {"config": {"a": 1}, "allow": ["everything"]},
        {"config": {"a": 1}, "expected_revision": -1},
        {"config": {"a": 1}, "expected_revision": True},
        {"config": {"a": 1}, "dry_run": "yes"},
        {"config": {"a": 1}, "version": "a\nb"},
        {"config": {"a": 1}, "version": "x" * 65},
        {"config": {"a": 1}, "reason": "x" * 2001},
        {},
        [],
    ],
)
async def test_a_malformed_update_is_refused(hub: RunningHub, service_name: str, update: object) -> None:
    assert_problem(await hub.http.post(path(service_name), json=update), 422, "invalid_request")


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"]
)
async def test_another_media_type_is_refused(hub: RunningHub, service_name: str, content_type: str) -> None:
    answer = await hub.http.put(path(service_name), content=b'{"a":1}', headers={"Content-Type": content_type})
    assert_problem(answer, 415, "unsupported_media_type")


async def test_a_compressed_body_is_refused_before_it_is_unpacked(hub: RunningHub, service_name: str) -> None:
    bomb = gzip.compress(b'{"a":"' + b"x" * 50_000_000 + b'"}')
    answer = await hub.http.put(path(service_name), content=bomb, headers={**JSON, "Content-Encoding": "gzip"})
    assert_problem(answer, 415, "unsupported_media_type")


async def test_a_form_posted_from_another_site_gets_nowhere(hub: RunningHub, service_name: str) -> None:
    async with hub.client(None) as client:
        answer = await client.post(
            path(service_name), data={"config": "{}"}, headers={"Origin": "https://evil.example"}
        )
        assert_problem(answer, 401, "unauthenticated")


async def test_reasons_with_escapes_and_scripts_are_data(hub: RunningHub, service_name: str) -> None:
    reason = "\x1b[31m=cmd|' /C calc'!A0\r\nX: <script>alert(1)</script>"
    written = await hub.http.put(path(service_name), json={"<b>": "\x1b[2J"}, params={"reason": reason})
    assert written.status_code == 200
    read = await hub.http.get(f"/api/v1/config/history/{service_name}")
    assert read.json()["history"][0]["reason"] == reason
    assert read.headers["content-type"] == "application/json"
    assert "\x1b" not in read.text


@pytest.mark.parametrize("header", ["If-Match", "X-Hub-Min-Revision", "Idempotency-Key", "If-None-Match"])
async def test_a_header_that_cannot_be_read_is_refused_not_guessed(
    hub: RunningHub, service_name: str, header: str
) -> None:
    method = "GET" if header == "X-Hub-Min-Revision" else "PUT"
    value = "x" * 300 if header == "Idempotency-Key" else "1.2.3;drop"
    answer = await hub.http.request(method, path(service_name), json={"a": 1}, headers={header: value})
    assert_problem(answer, 422, "invalid_request")


async def test_the_first_rule_in_the_order_of_the_contract_answers(hub: RunningHub, service_name: str) -> None:
    broken, too_large = b"{", b"x" * 1_100_000
    reader = await hub.new_token(verbs=["read"])
    elsewhere = await hub.new_token(verbs=["write"], services=["other"])

    async def answer(token: str | None, name: str, body: bytes, query: str = "", kind: str = "application/json") -> str:
        async with hub.client(token) as client:
            found: httpx2.Response = await client.put(
                f"/api/v1/config/{name}{query}", content=body, headers={"Content-Type": kind}
            )
        code: str = found.json()["code"]
        return code

    assert await answer(None, "A", too_large) == "unauthenticated"
    assert await answer(reader, "A", too_large, "?x=1") == "forbidden"
    assert await answer(hub.token, "A", too_large, "?x=1", "text/plain") == "too_large"
    assert await answer(hub.token, "A", broken, "?x=1", "text/plain") == "unsupported_media_type"
    assert await answer(hub.token, "A", broken, "?x=1") == "malformed_json"
    assert await answer(elsewhere, "A", b"{}", "?x=1") == "invalid_request"
    assert await answer(elsewhere, "A", b"{}") == "invalid_name"
    assert await answer(elsewhere, service_name, b"{}") == "forbidden"
    await hub.http.put(path(service_name), json={"a": 1})
    assert await answer(hub.token, service_name, b'{"a":' * 40 + b"1" + b"}" * 40) == "precondition_required"
