"""What the hub makes of whatever a health endpoint answers."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from central_hub.connections.health_probe import TIMEOUT_SECONDS, HealthProbe, Probed
from central_hub.connections.name_resolver import MAX_AT_ONCE, NameResolver
from central_hub.connections.pinned_request import Target
from tests.wire.health_endpoints import HealthEndpoints, health_endpoints
from tests.wire.small_server import write_certificate


@pytest.fixture
async def endpoints() -> AsyncIterator[HealthEndpoints]:
    async with health_endpoints() as running:
        yield running


@pytest.fixture
async def probe() -> AsyncIterator[HealthProbe]:
    made = HealthProbe()
    yield made
    await made.close()


def at(endpoints: HealthEndpoints, path: str, host: str = "127.0.0.1") -> Target:
    return Target("http", host, endpoints.port, path)


@pytest.mark.parametrize("path", ["/ok", "/empty", "/half", "/cookie", "/silent-body", "/ok?depth=2"])
async def test_a_status_of_2xx_is_ok_whatever_follows(
    endpoints: HealthEndpoints, probe: HealthProbe, path: str
) -> None:
    probed = await probe.ask(at(endpoints, path))
    assert (probed.ok, probed.reason) == (True, None)
    assert probed.latency_ms is not None
    assert 0 < probed.latency_ms < TIMEOUT_SECONDS * 1000
    assert endpoints.asked == {path: 1}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/error", "answered 500"),
        ("/unready", "answered 503"),
        ("/redirect", "answered 302; redirects are not followed"),
        ("/close", "the connection was closed without a valid answer"),
        ("/garbage", "the connection was closed without a valid answer"),
        ("/header-bomb", "the connection was closed without a valid answer"),
    ],
)
async def test_whatever_else_is_answered_is_a_failure_with_its_reason(
    endpoints: HealthEndpoints, probe: HealthProbe, path: str, reason: str
) -> None:
    probed = await probe.ask(at(endpoints, path))
    assert (probed.ok, probed.reason) == (False, reason)
    assert (probed.latency_ms is not None) == reason.startswith("answered")
    assert endpoints.asked == {path: 1}


@pytest.mark.parametrize("path", ["/hang", "/drip"])
async def test_who_does_not_answer_in_time_fails(endpoints: HealthEndpoints, probe: HealthProbe, path: str) -> None:
    begun = time.monotonic()
    assert await probe.ask(at(endpoints, path)) == Probed(False, "no answer within 2 s")
    assert time.monotonic() - begun > TIMEOUT_SECONDS * 0.9


async def test_an_endless_body_is_left_after_a_little(endpoints: HealthEndpoints, probe: HealthProbe) -> None:
    assert (await probe.ask(at(endpoints, "/endless"))).ok
    deadline = time.monotonic() + 15
    while endpoints.open:
        assert time.monotonic() < deadline, "the connection stays open"
        await asyncio.sleep(0.02)
    # What the operating system buffers on both sides, and no more.
    assert endpoints.sent < 32 * 1024 * 1024


async def test_who_never_comes_to_the_answer_is_left_after_a_little(
    endpoints: HealthEndpoints, probe: HealthProbe
) -> None:
    # Not after its time is over: until then it would keep the event loop busy with parsing.
    assert await probe.ask(at(endpoints, "/early-hints")) == Probed(
        False, "the connection was closed without a valid answer"
    )


async def test_a_check_carries_nothing_from_another(endpoints: HealthEndpoints, probe: HealthProbe) -> None:
    for path in ("/cookie", "/ok"):
        assert (await probe.ask(at(endpoints, path))).ok
    request = endpoints.requests[-1].lower()
    assert "cookie" not in request
    assert "authorization" not in request
    assert f"host: 127.0.0.1:{endpoints.port}\r\n" in request


async def test_where_nobody_listens_the_connection_is_refused(probe: HealthProbe) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        probed = await probe.ask(Target("http", "127.0.0.1", unused.getsockname()[1], "/ok"))
    assert probed == Probed(False, "the connection was refused")


async def test_a_name_is_asked_at_the_address_that_answers(endpoints: HealthEndpoints, probe: HealthProbe) -> None:
    # Where localhost is ::1 first, nobody listens there.
    assert (await probe.ask(at(endpoints, "/ok", host="localhost"))).ok
    assert f"host: localhost:{endpoints.port}\r\n" in endpoints.requests[-1].lower()


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1"])
async def test_other_spellings_of_an_address_are_looked_at_as_what_they_are(
    endpoints: HealthEndpoints, probe: HealthProbe, host: str
) -> None:
    assert (await probe.ask(at(endpoints, "/ok", host=host))).ok


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("169.254.169.254", "a link-local address"),
        ("2852039166", "a link-local address"),
        ("0xa9.0xfea9fe", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("::ffff:169.254.169.254", "a link-local address"),
        ("0.0.0.0", "an unspecified address"),
        ("0", "an unspecified address"),
        ("::", "an unspecified address"),
        ("239.1.2.3", "a multicast address"),
        ("fd00:ec2::254", "a metadata service"),
    ],
)
async def test_what_is_nobodys_service_is_not_asked(
    endpoints: HealthEndpoints, probe: HealthProbe, host: str, kind: str
) -> None:
    # On Linux the unspecified address leads to this machine: there somebody would answer.
    assert await probe.ask(at(endpoints, "/ok", host=host)) == Probed(None, f"not asked: {host} is {kind}")
    assert endpoints.requests == []


async def test_a_name_that_does_not_exist_is_told_as_such(probe: HealthProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"gone.example": socket.EAI_NONAME, "away.example": socket.EAI_AGAIN}

    def resolve(host: str, *_: object, **__: object) -> list[object]:
        raise socket.gaierror(answers[host], "no")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    gone = await probe.ask(Target("http", "gone.example", 80, "/"))
    away = await probe.ask(Target("http", "away.example", 80, "/"))
    # That the name server is away says nothing about the instance.
    assert (gone.ok, away.ok) == (False, None)
    assert gone.reason == away.reason == "its name does not resolve"


async def test_names_that_hang_hold_up_nobody_else(
    endpoints: HealthEndpoints, probe: HealthProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = socket.getaddrinfo

    def resolve(host: str, *arguments: object, **options: object) -> list[object]:
        if host.endswith(".example"):
            time.sleep(4)
        return list(ask(host, *arguments, **options))  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    hanging = [
        asyncio.create_task(probe.ask(Target("http", f"{number % 40}.example", 80, "/"))) for number in range(80)
    ]
    await asyncio.sleep(0)
    assert (await probe.ask(at(endpoints, "/ok", host="localhost"))).ok
    assert not any(task.done() for task in hanging)
    told = Probed(None, "its name could not be looked up in time")
    assert await asyncio.gather(*hanging) == [told] * len(hanging)


async def test_no_more_than_so_many_names_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1) or [])
    names = NameResolver()
    running = [asyncio.create_task(names.addresses(f"{number}.example")) for number in range(MAX_AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await names.addresses("another.example")
    assert await asyncio.gather(*running) == [[]] * MAX_AT_ONCE


async def test_an_endpoint_behind_tls_is_asked_whoever_signed_its_certificate(
    probe: HealthProbe, tmp_path: Path
) -> None:
    write_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with health_endpoints(tls) as endpoints:
        assert (await probe.ask(Target("https", "127.0.0.1", endpoints.port, "/ok"))).ok
        assert (await probe.ask(Target("https", "localhost", endpoints.port, "/ok"))).ok


async def test_tls_is_not_spoken_with_who_does_not_speak_it(endpoints: HealthEndpoints, probe: HealthProbe) -> None:
    probed = await probe.ask(Target("https", "127.0.0.1", endpoints.port, "/ok"))
    assert probed.ok is False
    assert probed.latency_ms is None
