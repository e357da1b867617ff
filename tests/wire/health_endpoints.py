"""A real server on loopback whose paths answer as health endpoints do, and as they should not."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

ANSWERS = {
    "/ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "/empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "/unready": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "/redirect": b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
    "/cookie": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    "/close": b"",
    "/garbage": b"\x00\xff SSH-2.0-nothing\r\n\r\n",
    "/half": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
    "/header-bomb": b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 2_000_000 + b"\r\n\r\n",
}

LATE_SECONDS = 0.2


@dataclass
class HealthEndpoints:
    """Where it listens, what it was asked, and what it answers where `answer` names one of its own paths."""

    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    answer: str | None = None
    sent: int = 0
    """Bytes of endless bodies that went out."""
    open: int = 0
    most_open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(request)
                path = request.split()[1]
                self.asked[path] += 1
                await self._answer(self.answer or path, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            self.open -= 1

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path.startswith("/hang"):
            await asyncio.sleep(3600)
        elif path == "/late":
            await asyncio.sleep(LATE_SECONDS)
            writer.write(ANSWERS["/ok"])
            await writer.drain()
        elif path == "/drip":
            for letter in b"HTTP/1.1 200 OK\r\nX-Endless: " + b"a" * 3600:
                writer.write(bytes([letter]))
                await writer.drain()
                await asyncio.sleep(0.05)
        elif path == "/endless":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                self.sent += 65_536
        elif path == "/early-hints":
            while True:
                writer.write(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 1000)
                await writer.drain()
                self.sent += 34_000
        elif path == "/silent-body":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(3600)
        else:
            writer.write(ANSWERS[path.partition("?")[0]])
            await writer.drain()


@asynccontextmanager
async def health_endpoints(tls: ssl.SSLContext | None = None) -> AsyncIterator[HealthEndpoints]:
    """The server, until the block ends."""
    endpoints = HealthEndpoints()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(endpoints.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1_000, ssl=tls)
    endpoints.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoints
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
