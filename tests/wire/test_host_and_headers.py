"""Which hosts are answered for, and what every answer carries, on a real server."""

import re
from collections.abc import Iterator

import pytest

from central_hub.api.limits import ConnectionLimits
from tests.wire.raw_peer import RawAnswer, RawPeer
from tests.wire.small_server import SmallServer, running_server

OWN_HOSTS = [
    "localhost", "LOCALHOST", "localhost:7000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:7000", "hub.example",
    "Hub.Example", "hub.example:443", "hub.example:9999",
]  # fmt: skip
FOREIGN_HOSTS = [
    "evil.example", "hub.example.evil.example", "evil.example:7000", "localhost.evil.example", "127.0.0.1.evil.example",
    "xlocalhost", "hub.example@evil.example", "evil.example#localhost", "", "localhost:evil", "[::1].evil.example",
    "[::1", "10.0.0.1", "2130706433", "0.0.0.0", "localhost evil.example", "localhost,evil.example",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[SmallServer]:
    with running_server(ConnectionLimits()) as running:
        yield running


def get(server: SmallServer, *fields: str, target: str = "/") -> RawAnswer:
    with RawPeer(server.port) as peer:
        peer.send("\r\n".join([f"GET {target} HTTP/1.1", *fields, "", ""]).encode())
        return peer.answer()


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_the_own_hosts_are_answered_for(server: SmallServer, host: str) -> None:
    assert get(server, f"Host: {host}").status == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_host_gets_421(server: SmallServer, host: str) -> None:
    answer = get(server, f"Host: {host}")
    assert (answer.status, answer.json()["code"]) == (421, "wrong_host")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "evil" not in answer.body.decode()


def test_a_request_without_a_host_gets_421(server: SmallServer) -> None:
    assert get(server).status == 421


@pytest.mark.parametrize("target", ["/health/live", "/health/ready", "/api/v1/health/live", "/api/v1/health/ready"])
def test_an_orchestrator_may_ask_for_life_by_any_address(server: SmallServer, target: str) -> None:
    assert get(server, "Host: 10.1.2.3:7000", target=target).status == 200


@pytest.mark.parametrize(
    "target", ["/health", "/health/live/", "/health//live", "/health/live/../../config", "/%68ealth/live"]
)
def test_what_only_looks_like_the_open_paths_is_for_the_own_hosts(server: SmallServer, target: str) -> None:
    assert get(server, "Host: 10.1.2.3:7000", target=target).status == 421


@pytest.mark.parametrize("host", ["localhost", "evil.example"], ids=["answer", "refusal"])
def test_every_answer_says_what_a_browser_may_do_with_it(server: SmallServer, host: str) -> None:
    headers = get(server, f"Host: {host}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_an_answer_may_not_run_or_be_framed(server: SmallServer) -> None:
    headers = get(server, "Host: localhost").headers
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "strict-transport-security" not in headers


@pytest.mark.parametrize("identity", ["a", "A1.b-c_d", "0190163d-8694-739b-aea5-966c26f8ad91", "x" * 64])
def test_the_id_of_a_request_comes_back(server: SmallServer, identity: str) -> None:
    assert get(server, "Host: localhost", f"X-Request-Id: {identity}").headers["x-request-id"] == identity


@pytest.mark.parametrize("identity", ["", "x" * 65, "a b", "a;b", "<script>", "é", "a%0d%0aX-Evil:1", "a\tb", "../x"])
def test_an_id_that_is_not_harmless_is_replaced(server: SmallServer, identity: str) -> None:
    answer = get(server, "Host: localhost", f"X-Request-Id: {identity}")
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["x-request-id"])
    assert answer.headers["x-request-id"] != identity
    assert "x-evil" not in answer.headers


def test_requests_without_an_id_get_different_ones(server: SmallServer) -> None:
    assert len({get(server, "Host: localhost").headers["x-request-id"] for _ in range(20)}) == 20
