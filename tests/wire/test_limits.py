"""Peers that are slow, silent, endless or malformed, against a real server: what they get, and what others get."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from central_hub.api.limits import ConnectionLimits
from tests.wire.raw_peer import RawPeer
from tests.wire.small_server import LARGE_ANSWER, SmallServer, running_server, write_certificate

IMPATIENT = ConnectionLimits(
    max_connections=400,
    head_seconds=0.6,
    body_seconds=2.0,
    body_grace_seconds=0.6,
    stall_seconds=1.0,
    linger_seconds=0.4,
)
TICK = 0.5  # how often a connection is looked at
SLACK = 0.7
"""For a busy machine."""

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
REQUEST = GET + b"\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=["plain", "tls"])
def server(request: pytest.FixtureRequest, certificate: Path) -> Iterator[SmallServer]:
    with running_server(IMPATIENT, tls_files=certificate if request.param == "tls" else None) as running:
        yield running


@pytest.fixture
def connect(server: SmallServer) -> Iterator[Callable[..., RawPeer]]:
    with contextlib.ExitStack() as stack:

        def new_peer(**options: int) -> RawPeer:
            return stack.enter_context(RawPeer(server.port, server.tls, **options))

        yield new_peer


Connect = Callable[..., RawPeer]


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def post(body: bytes, path: bytes = b"/echo") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


def test_an_ordinary_connection_answers_one_request_after_another(connect: Connect) -> None:
    peer = connect()
    for size in (0, 1, 70_000, 1024 * 1024):
        peer.send(post(b"x" * size))
        assert peer.answer().json()["size"] == size
    peer.send(REQUEST)
    assert peer.answer().body == b"hello"
    peer.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
    assert peer.answer().json()["size"] == 3


# Slow and silent


def test_a_connection_that_says_nothing_is_closed(connect: Connect) -> None:
    assert connect().seconds_until_closed() < IMPATIENT.head_seconds + TICK + SLACK


@pytest.mark.parametrize("part", [b"G", GET, b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localh"])
def test_a_connection_that_stops_within_the_header_is_closed(connect: Connect, part: bytes) -> None:
    peer = connect()
    peer.send(part)
    assert peer.seconds_until_closed() < IMPATIENT.head_seconds + TICK + SLACK


def test_a_header_that_drips_is_cut_off(connect: Connect) -> None:
    peer = connect()
    peer.send(GET)
    started = time.monotonic()
    peer.send_until_closed(b"X: y\r\n", 10, pause=0.05)
    assert time.monotonic() - started < IMPATIENT.head_seconds + TICK + SLACK


def test_an_idle_connection_is_closed_after_its_last_answer(connect: Connect) -> None:
    peer = connect()
    for _ in range(4):
        time.sleep(0.3)
        peer.send(REQUEST)
        assert peer.answer().status == 200
    assert 0.3 < peer.seconds_until_closed() < IMPATIENT.head_seconds + TICK + SLACK


@pytest.mark.parametrize("head", [POST + b"Content-Length: 10\r\n\r\n", POST + CHUNKED], ids=["length", "chunked"])
def test_a_body_that_does_not_come_is_answered_with_408(connect: Connect, head: bytes) -> None:
    peer = connect()
    peer.send(head)
    answer = peer.answer()
    assert (answer.status, answer.json()["status"]) == (408, 408)
    assert answer.headers["connection"] == "close"
    assert peer.seconds_until_closed() < IMPATIENT.linger_seconds + TICK + SLACK


def test_a_body_that_drips_is_cut_off(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + b"Content-Length: 100000\r\n\r\n")
    started = time.monotonic()
    peer.send_until_closed(b"x", 10, pause=0.05)
    assert time.monotonic() - started < IMPATIENT.body_grace_seconds + IMPATIENT.linger_seconds + 2 * TICK + SLACK


def test_an_honest_slow_body_is_taken(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + b"Content-Length: 60000\r\n\r\n")
    for _ in range(10):
        time.sleep(0.12)
        peer.send(b"x" * 6000)
    assert peer.answer().json()["size"] == 60_000


def test_a_body_that_keeps_the_rate_but_not_the_time_is_cut_off(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + b"Content-Length: 1000000\r\n\r\n")
    started = time.monotonic()
    peer.send_until_closed(b"x" * 4096, 10, pause=0.05)
    assert time.monotonic() - started < IMPATIENT.body_seconds + IMPATIENT.linger_seconds + 2 * TICK + SLACK


def test_a_peer_does_not_pay_for_an_application_that_reads_late(connect: Connect) -> None:
    peer = connect()
    peer.send(post(b"x" * 1_000_000, b"/late"))
    assert peer.answer().json()["size"] == 1_000_000


# Too much


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n",
        GET + b"".join(b"X-%d: y\r\n" % number for number in range(4_000)) + b"\r\n",
        b"\r\n" * 20_000,
    ],
    ids=["target", "field", "fields", "empty lines"],
)
def test_a_header_that_is_too_large_is_answered_with_431(connect: Connect, head: bytes) -> None:
    peer = connect()
    peer.send(head)
    answer = peer.answer()
    assert (answer.status, answer.headers["content-type"]) == (431, "application/problem+json")
    assert answer.json()["code"] == "too_large"


@pytest.mark.parametrize("endless", [b"X: y\r\n", b"a" * 1000], ids=["fields", "field"])
def test_a_header_without_end_is_cut_off(connect: Connect, endless: bytes) -> None:
    peer = connect()
    peer.send(GET)
    assert peer.send_until_closed(endless * 16, 10) < IMPATIENT.linger_bytes + 4 * 1024 * 1024


def test_a_header_just_below_the_limit_is_taken(connect: Connect) -> None:
    peer = connect()
    peer.send(GET + b"X: " + b"a" * 32_000 + b"\r\n\r\n")
    assert peer.answer().status == 200
    peer.send(post(b"x" * 500_000) + GET + b"X: " + b"a" * 32_000 + b"\r\n\r\n")
    assert [peer.answer().status, peer.answer().status] == [200, 200]


def test_a_chunked_body_without_end_is_answered_with_413_and_cut_off(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + CHUNKED)
    sent = peer.send_until_closed(b"10000\r\n" + b"x" * 0x10000 + b"\r\n", 10)
    assert sent < IMPATIENT.linger_bytes + 16 * 1024 * 1024  # what fits into the sockets' buffers


def test_a_peer_that_sends_too_much_can_read_the_413(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
    assert peer.answer().status == 413


def test_a_peer_that_is_refused_before_its_body_came_can_read_why(connect: Connect) -> None:
    peer = connect()
    peer.send(b"POST /deny HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_000_000)
    answer = peer.answer()
    assert answer.status == 401
    assert answer.headers["connection"] == "close"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert peer.seconds_until_closed() < IMPATIENT.linger_seconds + TICK + SLACK


def test_an_endless_body_after_an_early_answer_is_cut_off(connect: Connect) -> None:
    peer = connect()
    peer.send(b"POST /deny HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n")
    assert peer.answer().status == 401
    started = time.monotonic()
    sent = peer.send_until_closed(b"x" * 65_536, 10)
    assert sent < IMPATIENT.linger_bytes + 16 * 1024 * 1024
    assert time.monotonic() - started < IMPATIENT.linger_seconds + TICK + SLACK


def test_a_refused_request_whose_body_is_there_keeps_its_connection(connect: Connect) -> None:
    peer = connect()
    for _ in range(3):
        peer.send(post(b"x" * 100, b"/deny"))
        answer = peer.answer()
        assert answer.status == 401
        assert "connection" not in answer.headers


@pytest.mark.parametrize(
    "endless",
    [b"5;" + b"a" * 200_000, b"0\r\nX: " + b"a" * 200_000, b"0\r\n" + b"X: y\r\n" * 40_000],
    ids=["chunk extension", "trailer", "trailers"],
)
def test_framing_without_content_is_refused(connect: Connect, endless: bytes) -> None:
    peer = connect()
    peer.send(POST + CHUNKED)
    peer.send(endless)
    assert peer.answer().status == 400


def test_many_small_chunks_are_taken(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert peer.answer().json()["size"] == 50_000


def test_trailers_do_not_join_the_header(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + CHUNKED + b"1\r\nx\r\n")
    time.sleep(0.1)
    peer.send(b"0\r\nAuthorization: Bearer evil\r\nX-Late: 1\r\n\r\n")
    assert peer.answer().json()["headers"] == ["host", "transfer-encoding"]


# Malformed

MALFORMED = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown version": b"GET / HTTP/3.7\r\nHost: localhost\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "line feeds only": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "folded field": GET + b"X: a\r\n b\r\n\r\n",
    "bare carriage return": GET + b"X: a\rb\r\n\r\n",
    "NUL in a field": GET + b"X: a\x00\r\n\r\n",
    "field without name": GET + b": x\r\n\r\n",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "the same host twice": GET + b"Host: localhost\r\n\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two different lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "list of lengths": POST + b"Content-Length: 1, 1\r\n\r\nx",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "signed length": POST + b"Content-Length: +1\r\n\r\nx",
    "length beyond 64 bits": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "length and chunked": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding after chunked": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "absolute form for another host": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute form that begins alike": b"GET http://localhost.evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute form with user": b"GET http://localhost@evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute form without path": b"GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute form of another scheme": b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "authority form": b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "upgrade with a body": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 36\r\n\r\n" + REQUEST,
    "upgrade with a chunked body": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED + b"0\r\n\r\n",
}


@pytest.mark.parametrize("server", ["plain"], indirect=True)
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_answered_with_400_and_the_connection_ends(connect: Connect, name: str) -> None:
    peer = connect()
    peer.send(MALFORMED[name])
    answer = peer.answer()
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json()["code"] == "invalid_request"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "evil" not in answer.body.decode()
    assert peer.seconds_until_closed() < IMPATIENT.linger_seconds + TICK + SLACK


def test_a_malformed_body_is_answered_with_400(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + CHUNKED + b"zz\r\n")
    assert peer.answer().status == 400


def test_more_than_the_length_announced_is_not_read_as_a_body(connect: Connect) -> None:
    peer = connect()
    peer.send(post(b"abc") + b"def\r\n\r\n")
    answer = peer.answer()
    assert answer.json()["size"] == 3
    assert answer.headers["connection"] == "close"


def test_the_absolute_form_of_the_own_address_is_taken(connect: Connect) -> None:
    peer = connect()
    peer.send(b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert peer.answer().status == 200


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\n",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n\r\n",
    ],
    ids=["websocket", "h2c", "tls"],
)
def test_an_upgrade_is_ignored_and_what_follows_it_is_not_read(connect: Connect, upgrade: bytes) -> None:
    peer = connect()
    peer.send(GET + upgrade + b"GET /deny HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = peer.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert peer.seconds_until_closed() < SLACK


def test_a_peer_of_http_1_0_is_answered_once(connect: Connect) -> None:
    peer = connect()
    peer.send(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert peer.answer().body == b"hello"
    assert peer.seconds_until_closed() < SLACK


def test_a_body_may_wait_for_100_continue(connect: Connect) -> None:
    peer = connect()
    peer.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert peer.receive(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(b"abc")
    assert peer.answer().json()["size"] == 3


def test_a_body_that_waits_for_100_continue_is_not_asked_for_when_it_is_refused(connect: Connect) -> None:
    peer = connect()
    peer.send(b"POST /deny HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert peer.answer().status == 401


# Many requests at once


def test_pipelined_requests_are_answered_in_order(connect: Connect) -> None:
    peer = connect()
    peer.send(b"".join(post(b"x" * size) for size in range(50)))
    assert [peer.answer().json()["size"] for _ in range(50)] == list(range(50))


def test_too_many_pipelined_requests_end_the_connection(connect: Connect) -> None:
    peer = connect()
    peer.send(REQUEST * 5_000)
    assert peer.answer().status == 200
    assert peer.seconds_until_closed() < IMPATIENT.linger_seconds + TICK + SLACK


def test_a_malformed_request_does_not_break_into_the_answer_before_it(connect: Connect, server: SmallServer) -> None:
    peer = connect()
    peer.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert eventually(lambda: server.app.open_streams == 1, 2)
    peer.send(b"nonsense\r\n\r\n")
    time.sleep(0.2)
    received = b"".join(peer.receive(65_536) for _ in range(10))
    assert b"HTTP/1.1 400" not in received
    assert peer.send_until_closed(b"x" * 65_536, 10) < IMPATIENT.linger_bytes + 16 * 1024 * 1024
    assert eventually(lambda: server.app.open_streams == 0, 2)


@pytest.mark.parametrize("queued", [b"", REQUEST, GET], ids=["nothing", "a request", "half a request"])
def test_a_stream_ends_when_its_reader_leaves_whatever_is_queued_behind_it(
    connect: Connect, server: SmallServer, queued: bytes
) -> None:
    peer = connect()
    peer.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n" + queued)
    assert eventually(lambda: server.app.open_streams == 1, 2)
    peer.close()
    assert eventually(lambda: server.app.open_streams == 0, 2)


def test_a_quiet_reader_of_a_stream_is_left_alone(connect: Connect, server: SmallServer) -> None:
    peer = connect()
    peer.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    end = time.monotonic() + IMPATIENT.stall_seconds + IMPATIENT.head_seconds + 1
    while time.monotonic() < end:
        assert peer.receive(65_536)
    assert server.app.open_streams == 1
    peer.close()
    assert eventually(lambda: server.app.open_streams == 0, 2)


def test_a_reader_that_takes_nothing_of_a_stream_is_dropped(connect: Connect, server: SmallServer) -> None:
    peer = connect(receive_buffer=4096)
    peer.send(b"GET /stream?200000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert eventually(lambda: server.app.open_streams == 1, 2)
    assert eventually(lambda: server.app.open_streams == 0, 2 * IMPATIENT.stall_seconds + 2 * TICK + 2)
    assert eventually(lambda: server.connections == 0, 2)


def test_a_reader_that_takes_nothing_of_an_answer_is_dropped(connect: Connect, server: SmallServer) -> None:
    peer = connect(receive_buffer=4096)
    peer.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert eventually(lambda: server.connections == 1, 2)
    assert eventually(lambda: server.connections == 0, 2 * IMPATIENT.stall_seconds + 2 * TICK + 2)


def test_a_slow_reader_that_keeps_reading_gets_all_of_a_large_answer(connect: Connect) -> None:
    peer = connect(receive_buffer=65_536)
    peer.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    received, started = 0, time.monotonic()
    while received < LARGE_ANSWER:
        piece = peer.receive(1024 * 1024)
        assert piece, f"cut off after {received} bytes"
        received += len(piece)
        if time.monotonic() - started < 2 * IMPATIENT.stall_seconds:
            time.sleep(0.02)
    assert time.monotonic() - started > 2 * IMPATIENT.stall_seconds


# Other event loops


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_limits_hold_on_the_event_loop_of_the_standard_library(certificate: Path, *, tls: bool) -> None:
    with running_server(IMPATIENT, loop="asyncio", tls_files=certificate if tls else None) as server:
        with RawPeer(server.port, server.tls) as peer:
            peer.send(post(b"x" * 70_000))
            assert peer.answer().json()["size"] == 70_000
            assert peer.seconds_until_closed() < IMPATIENT.head_seconds + TICK + SLACK
        with RawPeer(server.port, server.tls) as dripping:
            dripping.send(GET)
            dripping.send_until_closed(b"X: y\r\n", 3, pause=0.05)
        with RawPeer(server.port, server.tls) as refused:
            refused.send(post(b"x" * 1_000_000, b"/deny")[:-1])
            assert refused.answer().status == 401
            refused.send_until_closed(b"x" * 65_536, 3)
        with RawPeer(server.port, server.tls, receive_buffer=4096) as stuck:
            stuck.send(b"GET /stream?200000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert eventually(lambda: server.app.open_streams == 1, 2)
            assert eventually(lambda: server.app.open_streams == 0, 2 * IMPATIENT.stall_seconds + 2 * TICK + 2)


# Many connections


def test_a_connection_too_many_gets_503_and_the_others_go_on(certificate: Path) -> None:
    limits = ConnectionLimits(max_connections=8, linger_seconds=0.5)
    with running_server(limits) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(server.port)) for _ in range(8)]
        assert eventually(lambda: server.connections == 8, 2)
        surplus = stack.enter_context(RawPeer(server.port))
        answer = surplus.answer()
        assert (answer.status, int(answer.headers["retry-after"]) in range(1, 6)) == (503, True)
        assert answer.headers["content-type"] == "application/problem+json"
        assert surplus.seconds_until_closed() < limits.linger_seconds + TICK + SLACK
        for peer in peers:
            peer.send(REQUEST)
            assert peer.answer().status == 200
        peers[0].close()
        assert eventually(lambda: server.connections == 7, 2)
        late = stack.enter_context(RawPeer(server.port))
        late.send(REQUEST)
        assert late.answer().status == 200


def test_while_most_connections_are_taken_idle_ones_make_room_sooner() -> None:
    limits = ConnectionLimits(max_connections=8, head_seconds=60.0, crowded_head_seconds=0.5)
    with running_server(limits) as server, contextlib.ExitStack() as stack:
        first, *others = [stack.enter_context(RawPeer(server.port)) for _ in range(6)]
        assert eventually(lambda: server.connections == 6, 2)
        first.send(REQUEST)
        assert first.answer().status == 200
        assert first.seconds_until_closed() < limits.crowded_head_seconds + TICK + SLACK
        others[0].close()
        others[1].close()
        assert eventually(lambda: server.connections == 3, 2)
        for _ in range(2):
            others[2].send(REQUEST)
            assert others[2].answer().status == 200
            time.sleep(2 * limits.crowded_head_seconds + TICK)


def test_who_connects_while_much_is_to_be_done_is_heard_within_a_few_turns() -> None:
    with running_server(ConnectionLimits()) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(server.port)) for _ in range(300)]
        for peer in peers:
            peer.send(REQUEST)
        assert {peer.answer().status for peer in peers} == {200}


def test_a_tls_handshake_that_does_not_come_is_cut_off(certificate: Path) -> None:
    with running_server(IMPATIENT, tls_files=certificate) as server:
        with RawPeer(server.port) as silent:
            assert silent.seconds_until_closed() < 1.0 + SLACK
        with RawPeer(server.port) as stuck:
            stuck.send(b"\x16\x03\x01\x02\x00\x01")
            assert stuck.seconds_until_closed() < 1.0 + SLACK
        with RawPeer(server.port) as plain:
            plain.send(REQUEST)
            assert plain.seconds_until_closed() < SLACK


def test_a_server_that_stops_closes_idle_connections_and_finishes_answers() -> None:
    with running_server(IMPATIENT) as server:
        idle, busy = RawPeer(server.port), RawPeer(server.port)
        idle.send(REQUEST)
        assert idle.answer().status == 200
        busy.send(post(b"x" * 1000, b"/late")[:-500])
        assert eventually(lambda: server.connections == 2, 2)
        server.server.should_exit = True
        assert idle.seconds_until_closed() < SLACK
        busy.close()
        idle.close()


def test_three_hundred_bad_peers_are_gone_within_ten_seconds_and_nobody_else_notices() -> None:
    """With the limits that the hub runs with."""
    stop = threading.Event()

    def victim(port: int) -> list[float]:
        latencies = []
        with RawPeer(port) as peer:
            while not stop.is_set():
                started = time.monotonic()
                peer.send(post(b"x" * 1000))
                assert peer.answer().json()["size"] == 1000
                latencies.append(time.monotonic() - started)
                time.sleep(0.005)
        return latencies

    kinds = [
        b"",
        b"GE",
        GET,
        REQUEST,
        POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 10,
        POST + CHUNKED + b"5\r\nab",
        b"POST /deny HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n",
        post(b"x" * 100) + GET,
    ]
    drips = {2: b"X: y\r\n", 4: b"x"}
    with (
        running_server(ConnectionLimits()) as server,
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(4) as victims,
    ):
        running = [victims.submit(victim, server.port) for _ in range(4)]
        started = time.monotonic()
        bad = [stack.enter_context(RawPeer(server.port)) for _ in range(304)]
        for number, peer in enumerate(bad):
            peer.send(kinds[number % len(kinds)])
        most = 0
        while (server.connections > len(running) or most == 0) and time.monotonic() - started < 15:
            most = max(most, server.connections)
            for number, peer in enumerate(bad):
                with contextlib.suppress(OSError):
                    peer.send(drips.get(number % len(kinds), b""))
            time.sleep(0.2)
        gone_after = time.monotonic() - started
        stop.set()
        latencies = [latency for future in running for latency in future.result()]
    print(f"{most} connections, gone after {gone_after:.1f} s; {len(latencies)} answers, worst {max(latencies):.3f} s")
    assert most > 290
    assert gone_after < 10.5
    assert len(latencies) > 1000
    assert max(latencies) < 0.5
