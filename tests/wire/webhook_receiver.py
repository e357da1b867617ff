"""A real receiver of webhooks on loopback: it keeps what it was sent, and answers as it is told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


def answer(status: int, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status} Whatever", *headers, "Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class WebhookReceiver:
    """`answers` says what is answered to a request; a hanging path is never answered, an endless one for ever."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: Callable[[Received], bytes] = field(default=lambda _: answer(204))
    sent: int = 0
    open: int = 0
    names: list[str] = field(default_factory=list)
    """What clients named the server in their TLS handshakes."""

    def url(self, path: str = "/", *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                request, *lines = head.strip().split("\r\n")
                method, path, _ = request.split()
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                received = Received(method, path, headers, body)
                self.received.append(received)
                if path.startswith("/hang"):
                    await asyncio.sleep(3600)
                elif path == "/endless":
                    await self._answer_for_ever(writer)
                else:
                    writer.write(self.answers(received))
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
        finally:
            self.open -= 1

    async def _answer_for_ever(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            self.sent += 65_536


@asynccontextmanager
async def webhook_receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[WebhookReceiver]:
    """The receiver, until the block ends."""
    receiver = WebhookReceiver()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(receiver.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: receiver.names.append(name)
    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1_000, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
