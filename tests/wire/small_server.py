"""A real uvicorn server within given limits, with a small application, in a thread with an event loop of its own."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.types import Receive, Scope, Send

from central_hub.api.host_check import AllowedHosts, HostCheck
from central_hub.api.limits import BoundedHttpProtocol, BoundedServer, ConnectionLimits
from central_hub.api.problems import send_problem
from central_hub.api.security_headers import SecurityHeaders
from central_hub.errors import TooLarge, Unauthenticated

LARGEST_BODY = 1024 * 1024
LARGE_ANSWER = 32 * 1024 * 1024


class SmallApp:
    """Answers that end early, late, in pieces, or never."""

    def __init__(self) -> None:
        self.open_streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answers: dict[str, Callable[[Scope, Receive, Send], object]] = {
            "/echo": self._echo,
            "/late": self._late,
            "/deny": self._deny,
            "/stream": self._stream,
            "/large": self._large,
        }
        await answers.get(scope["path"], self._hello)(scope, receive, send)  # type: ignore[misc]

    async def _hello(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, b"hello")

    async def _deny(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_problem(send, Unauthenticated("no"))

    async def _late(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2.5)
        await self._echo(scope, receive, send)

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            more = message["more_body"]
            if size > LARGEST_BODY:
                await send_problem(send, TooLarge("too large"))
                return
        names = [name.decode() for name, _ in scope["headers"]]
        await _answer(send, json.dumps({"method": scope["method"], "size": size, "headers": names}).encode())

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_until_disconnected(receive))
        size = int(scope["query_string"] or b"100")
        self.open_streams += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not gone.done():
                await send({"type": "http.response.body", "body": b"x" * size, "more_body": True})
                await asyncio.sleep(0.02)
        finally:
            gone.cancel()
            self.open_streams -= 1

    async def _large(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, b"x" * LARGE_ANSWER)


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class SmallServer:
    """Where it listens, and what it runs."""

    app: SmallApp
    port: int
    server: uvicorn.Server
    limits: ConnectionLimits
    tls: ssl.SSLContext | None

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


class _ImpatientServer(BoundedServer):
    handshake_seconds = 1.0


@contextlib.contextmanager
def running_server(
    limits: ConnectionLimits, *, loop: str = "uvloop", tls_files: Path | None = None
) -> Iterator[SmallServer]:
    """The server, answering, until the block ends."""
    app = SmallApp()
    files = (
        {} if tls_files is None else {"ssl_certfile": str(tls_files / "cert"), "ssl_keyfile": str(tls_files / "key")}
    )
    config = uvicorn.Config(
        SecurityHeaders(HostCheck(app, AllowedHosts("hub.example, hub.example:9999", "127.0.0.1"))),
        http=BoundedHttpProtocol.within(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        **files,
    )
    server = _ImpatientServer(config)
    listener = socket.create_server(("127.0.0.1", 0))
    new_loop = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    client_tls = None if tls_files is None else ssl.create_default_context(cafile=tls_files / "cert")
    try:
        yield SmallServer(app, listener.getsockname()[1], server, limits, client_tls)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def write_certificate(directory: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, as `cert` and `key` in the directory."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory
