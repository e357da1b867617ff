"""Asks a NATS server: signs in, and sends a PING.

The few lines of the protocol are spoken here: a client of the library keeps tasks and connections of its own.
https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import asyncio
import json
import ssl
import time
from typing import Any, Final

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.probes.connection import Connection, endpoint
from central_hub.monitoring.probes.nkey import sign
from central_hub.monitoring.probes.options import NatsOptions
from central_hub.monitoring.probes.reach import LARGEST_LINE_BYTES, Found, Reach, answered, tls_context

_NO_NATS: Final = "what answers is no NATS server"
_CLOSED: Final = "the connection was closed without a valid answer"
_MOST_LINES: Final = 32


async def ask(connection: Connection, options: NatsOptions, reach: Reach) -> Probed:
    """Whether it lets the probe in and answers PING."""
    host, port = endpoint(connection)
    started = time.perf_counter()
    async with reach.dial(host, port, None) as (reader, writer):
        greeting = await _line(reader)
        if not greeting.startswith(b"INFO "):
            raise Found(False, _error(greeting) if greeting.startswith(b"-ERR") else _NO_NATS)
        server = _parsed(greeting[5:])
        if server.get("tls_required") or connection.options.tls:
            if not (server.get("tls_required") or server.get("tls_available")):
                raise Found(False, "it does not speak TLS")
            reader, transport = await _with_tls(writer, tls_context(options), host)
        else:
            transport = writer.transport
        try:
            sign_in = json.dumps(_sign_in(connection, server))
            transport.write(f"CONNECT {sign_in}\r\nPING\r\n".encode())
            for _ in range(_MOST_LINES):
                line = await _line(reader)
                if line == b"PONG":
                    return answered(started)
                if line.startswith(b"-ERR"):
                    raise Found(False, _error(line))
                if line == b"PING":
                    transport.write(b"PONG\r\n")
                elif not line.startswith((b"INFO ", b"+OK")):
                    break
            raise Found(False, _NO_NATS)
        finally:
            transport.abort()


async def _with_tls(
    writer: asyncio.StreamWriter, tls: ssl.SSLContext, host: str
) -> tuple[asyncio.StreamReader, asyncio.WriteTransport]:
    """After the greeting in the clear, as NATS does it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LARGEST_LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = await loop.start_tls(writer.transport, protocol, tls, server_hostname=host)
    if transport is None:
        raise Found(False, _CLOSED)
    protocol.connection_made(transport)
    return reader, transport


def _sign_in(connection: Connection, server: dict[str, Any]) -> dict[str, Any]:
    given = {"user": connection.user, "pass": connection.password, "auth_token": connection.token}
    fields = {name: value for name, value in given.items() if value is not None}
    if connection.nkey is not None and isinstance(nonce := server.get("nonce"), str):
        fields["nkey"], fields["sig"] = sign(connection.nkey, nonce.encode())
    return {"verbose": False, "pedantic": False, "lang": "python", "version": "1", "protocol": 1} | fields


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n")).rstrip()
    except asyncio.IncompleteReadError:
        raise Found(False, _CLOSED) from None
    except asyncio.LimitOverrunError:
        raise Found(False, _NO_NATS) from None


def _parsed(greeting: bytes) -> dict[str, Any]:
    try:
        server = json.loads(greeting)
    except (ValueError, RecursionError):
        server = None
    if not isinstance(server, dict):
        raise Found(False, _NO_NATS)
    return server


def _error(line: bytes) -> str:
    text = line.lower()
    if b"authorization violation" in text or b"authentication" in text:
        return "the credentials were refused"
    if b"maximum connections exceeded" in text:
        return "it has too many connections"
    return "it answers with an error"
