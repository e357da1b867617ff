"""The limits of a connection as a hub applies them: without a token, with one, and on a stream."""

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from tests.conftest import RunningHub
from tests.wire.raw_peer import RawAnswer, RawPeer

ENDLESS = 10_000_000_000
MEBIBYTE = 1024 * 1024


@pytest.fixture
def connect(hub: RunningHub) -> Iterator[Callable[[], RawPeer]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(RawPeer(httpx2.URL(hub.url).port or 0))


def head(method: str, target: str, *fields: str, token: str | None = None) -> bytes:
    authorization = [] if token is None else [f"Authorization: Bearer {token}"]
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *authorization, *fields, "", ""]
    return "\r\n".join(lines).encode()


async def exchange(peer: RawPeer, data: bytes) -> RawAnswer:
    def send_and_read() -> RawAnswer:
        peer.send(data)
        return peer.answer()

    return await asyncio.to_thread(send_and_read)


async def watchers(hub: RunningHub, expected: int) -> bool:
    for _ in range(100):
        text = (await hub.http.get("/api/v1/metrics")).text
        if f"central_hub_watchers {float(expected)}" in text:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_body_without_a_token_is_refused_unread(connect: Callable[[], RawPeer]) -> None:
    peer = connect()
    request = head("PUT", "/api/v1/config/some", "Content-Type: application/json", f"Content-Length: {ENDLESS}")
    answer = await exchange(peer, request)
    assert (answer.status, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["connection"] == "close"
    assert await asyncio.to_thread(peer.send_until_closed, b"x" * 65_536, 5) < 32 * MEBIBYTE


async def test_an_announced_length_is_refused_before_it_is_sent(
    hub: RunningHub, connect: Callable[[], RawPeer], service_name: str
) -> None:
    fields = ["Content-Type: application/json", f"Content-Length: {MEBIBYTE + 1}", "Expect: 100-continue"]
    answer = await exchange(connect(), head("PUT", f"/api/v1/config/{service_name}", *fields, token=hub.token))
    assert (answer.status, answer.json()["code"]) == (413, "too_large")


async def test_a_chunked_body_without_end_is_refused_at_the_limit(
    hub: RunningHub, connect: Callable[[], RawPeer], service_name: str
) -> None:
    peer = connect()
    fields = ["Content-Type: application/json", "Transfer-Encoding: chunked"]
    request = head("PUT", f"/api/v1/config/{service_name}", *fields, token=hub.token)
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = await exchange(peer, request + chunk * 17)
    assert (answer.status, answer.json()["code"]) == (413, "too_large")
    assert await asyncio.to_thread(peer.send_until_closed, chunk, 5) < 32 * MEBIBYTE


async def test_a_body_that_never_comes_gets_408(
    hub: RunningHub, connect: Callable[[], RawPeer], service_name: str
) -> None:
    fields = ["Content-Type: application/json", "Content-Length: 10"]
    answer = await exchange(connect(), head("PUT", f"/api/v1/config/{service_name}", *fields, token=hub.token))
    assert answer.status == 408
    assert (await hub.http.get(f"/api/v1/config/{service_name}")).status_code == 404


async def test_more_bytes_than_announced_do_not_become_part_of_the_document(
    hub: RunningHub, connect: Callable[[], RawPeer], service_name: str
) -> None:
    fields = ["Content-Type: application/json", "Content-Length: 7"]
    request = head("PUT", f"/api/v1/config/{service_name}", *fields, token=hub.token)
    answer = await exchange(connect(), request + b'{"a":1}' + b',"b":2}')
    assert answer.status == 200
    assert (await hub.http.get(f"/api/v1/config/{service_name}")).json()["config"] == {"a": 1}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/api/v1/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["not HTTP", "two hosts", "absolute form", "authority form", "two framings"],
)
async def test_malformed_http_gets_400(connect: Callable[[], RawPeer], request_bytes: bytes) -> None:
    answer = await exchange(connect(), request_bytes)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_a_websocket_is_not_opened_and_needs_a_token_like_everything(connect: Callable[[], RawPeer]) -> None:
    fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA"]
    answer = await exchange(connect(), head("GET", "/api/v1/config/watch", *fields))
    assert (answer.status, answer.headers["connection"]) == (401, "close")


@pytest.mark.parametrize("queued", [False, True], ids=["alone", "with a request queued behind it"])
async def test_a_stream_ends_when_its_reader_leaves(
    hub: RunningHub, connect: Callable[[], RawPeer], service_name: str, *, queued: bool
) -> None:
    await hub.http.put(f"/api/v1/config/{service_name}", json={"a": 1})
    peer = connect()
    watch = head("GET", f"/api/v1/config/watch?service={service_name}", token=hub.token)
    await asyncio.to_thread(peer.send, watch + (head("GET", "/api/v1/health/live") if queued else b""))
    assert await watchers(hub, 1)
    peer.close()
    assert await watchers(hub, 0)


async def test_a_hub_may_open_as_many_files_as_it_takes_connections(start_hub: Callable[..., Any]) -> None:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    try:
        await start_hub(max_connections=2_000)
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
    assert allowed > 2_000
