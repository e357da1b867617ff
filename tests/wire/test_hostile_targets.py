"""Targets that hang, stream for ever, close at once or talk nonsense: a probe is back in time and leaves nothing."""

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.infrastructure import Component, ProbeSettings, Section
from central_hub.monitoring.probes.asking import Probes
from tests.integration.probed_servers import misbehaving
from tests.wire.small_server import write_certificate

KINDS = ("http", "tcp", "postgres", "redis", "nats", "clickhouse", "kafka")
SPEAKING = tuple(kind for kind in KINDS if kind != "tcp")
SECRET = "hush-hush-hush"
LEEWAY_SECONDS = 3.0


@pytest.fixture
async def probes() -> AsyncIterator[Probes]:
    made = Probes(dict)
    yield made
    await made.close()


def target(
    kind: str, port: int, *, seconds: float = 0.5, tls: bool = False, name: str = "target", host: str = "127.0.0.1"
) -> Component:
    connection = {
        "host": host,
        "port": port,
        "user": "watcher",
        "password": SECRET,
        "options": {"tls": tls, "sslmode": "require" if tls else "prefer"},
    }
    probe = ProbeSettings(kind, timeout_seconds=seconds, options={"verify": False})
    return Component(name, Section.DATABASES, kind, connection, probe)


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"y" * 4096)
        await writer.drain()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(0.05)


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def half_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
    await asyncio.sleep(3600)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\xff\0\0 hush: %s\r\n\r\n" % SECRET.encode() + bytes(range(256)) * 8)
    await writer.drain()
    await reader.read(4096)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.read(4096):
        writer.write(received)
        await writer.drain()


async def hang_after_agreeing_on_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As PostgreSQL begins it: the question in the clear, answered by one letter."""
    await reader.readexactly(8)
    writer.write(b"S")
    await writer.start_tls(_server_tls)  # type: ignore[arg-type]
    await asyncio.sleep(3600)


_server_tls: ssl.SSLContext | None = None


@pytest.mark.parametrize("serve", [hang, stream, drip, close, half_open, garbage, echo], ids=lambda one: one.__name__)
@pytest.mark.parametrize("kind", SPEAKING)
async def test_whatever_a_target_does_the_probe_is_back_in_time(probes: Probes, kind: str, serve: Any) -> None:
    async with misbehaving(serve) as port:
        begun = time.monotonic()
        probed = await probes.ask(target(kind, port))
        assert time.monotonic() - begun < 0.5 + LEEWAY_SECONDS
        assert probed.ok is False
        assert probed.reason
        assert "broke" not in probed.reason
        assert len(probed.reason) < 100
        assert SECRET not in probed.reason
        assert "hush" not in probed.reason
        if serve is hang:
            assert probed.reason == "no answer within 0.5 s"
        await nothing_open(port)


@pytest.mark.parametrize(("kind", "beginning"), [("postgres", b"R\x40\0\0\0"), ("kafka", b"\x40\0\0\0")])
async def test_an_answer_that_announces_a_gigabyte_is_not_waited_for(
    probes: Probes, kind: str, beginning: bytes
) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        if kind == "postgres":  # whether it speaks TLS
            await reader.readexactly(8)
            writer.write(b"N")
            await reader.read(1)
        writer.write(beginning)
        while True:
            writer.write(b"y" * 65536)
            await writer.drain()
            sent += 65536

    async with misbehaving(flood) as port:
        assert await probes.ask(target(kind, port, seconds=60)) == Probed(False, "it sends more than 16 MB")
        # What the operating system buffers comes on top.
        assert sent < 64 * 1024 * 1024
        await nothing_open(port)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_two_hundred_probes_of_hanging_targets_leave_nothing(
    new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    global _server_tls
    write_certificate(tmp_path)
    _server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _server_tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    async def run() -> None:
        probes = Probes(dict)
        before = asyncio.all_tasks()
        async with (
            misbehaving(hang) as plain,
            misbehaving(hang, _server_tls) as secured,
            misbehaving(hang_after_agreeing_on_tls) as postgres,
        ):
            targets = [target(kind, plain, name=f"{kind}-{number}") for kind in SPEAKING for number in range(20)]
            targets += [
                target(
                    kind, postgres if kind == "postgres" else plain if kind == "nats" else secured, tls=True, name=kind
                )
                for kind in SPEAKING
                for _ in range(14)
            ]
            assert len(targets) > 200
            begun = time.monotonic()
            found = await asyncio.gather(*(probes.ask(one) for one in targets))
            # All at once: what they wait for is not each other.
            assert time.monotonic() - begun < 20
            assert set(found) == {Probed(False, "no answer within 0.5 s")}
            for port in (plain, secured, postgres):
                await nothing_open(port)
        await until(lambda: asyncio.all_tasks() <= before)
        await probes.close()

    in_a_loop_of(new_loop, run())


async def test_a_probe_that_is_left_by_its_caller_leaves_nothing(probes: Probes) -> None:
    async with misbehaving(hang) as port:
        asking = asyncio.create_task(probes.ask(target("redis", port, seconds=60)))
        await until(lambda: bool(open_to(port)))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await nothing_open(port)


async def test_closing_ends_what_is_running(probes: Probes) -> None:
    async with misbehaving(hang) as port:
        asking = asyncio.create_task(probes.ask(target("kafka", port, seconds=60)))
        await until(lambda: bool(open_to(port)))
        await probes.close()
        assert (await asking).ok is False
        await nothing_open(port)


@pytest.mark.parametrize("kind", KINDS)
async def test_where_nobody_listens_the_connection_is_refused(probes: Probes, kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        probed = await probes.ask(target(kind, unused.getsockname()[1], seconds=20))
    assert probed == Probed(False, "the connection was refused")


@pytest.mark.parametrize("kind", KINDS)
async def test_names_without_an_answer_are_told_apart(
    probes: Probes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"gone.example": socket.EAI_NONAME, "away.example": socket.EAI_AGAIN}

    def resolve(host: str, *_: object, **__: object) -> list[object]:
        if host == "slow.example":
            time.sleep(3)
        if host in answers:
            raise socket.gaierror(answers[host], SECRET)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asked = [probes.ask(target(kind, 1, host=f"{name}.example")) for name in ("gone", "away", "slow", "empty")]
    assert await asyncio.gather(*asked) == [
        Probed(False, "its name does not resolve"),
        Probed(None, "its name does not resolve"),
        Probed(None, "its name could not be looked up in time"),
        Probed(False, "its name has no address"),
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hub_without_sockets_says_nothing_of_the_target(
    probes: Probes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    async with misbehaving(hang) as port:
        await probes.ask(target(kind, port))  # whatever is loaded for the first time has its files
        monkeypatch.setattr(socket, "socket", no_more)
        assert await probes.ask(target(kind, port, seconds=20)) == Probed(None, "the hub cannot make connections")


@pytest.mark.parametrize("kind", ["http", "clickhouse", "tcp", "postgres", "kafka"])
async def test_tls_to_a_port_without_it_fails(probes: Probes, kind: str) -> None:
    async with misbehaving(garbage) as port:
        probed = await probes.ask(target(kind, port, tls=True, seconds=20))
    assert probed.ok is False


def open_to(port: int) -> list[Any]:
    """The client's side of the connections to a port of this machine."""
    return [
        one
        for one in psutil.Process().net_connections("tcp")
        if one.raddr and one.raddr.port == port and one.status != psutil.CONN_TIME_WAIT
    ]


async def nothing_open(port: int) -> None:
    await until(lambda: not open_to(port))


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, asyncio.all_tasks()
        await asyncio.sleep(0.02)


def in_a_loop_of(new_loop: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, None]) -> None:
    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(work)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()
