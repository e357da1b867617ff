"""A server that misbehaves on purpose, over a real socket: what no real hub would do."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from central_hub_client.wire import Bookmark, ConfigObject


@dataclass(frozen=True)
class Request:
    """A request as it came: the target, the headers by lower-case name, and when."""

    target: str
    headers: dict[str, str]
    at: float


@dataclass
class Exchange:
    """One request and the connection to answer it on."""

    request: Request
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def respond(self, status: str, body: bytes = b"", **headers: str) -> None:
        """A whole response; header names are written with `_` for `-`."""
        fields = {"Content_Length": str(len(body))} | headers
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        await self.send(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)

    async def respond_config(self, config: ConfigObject, **headers: str) -> None:
        body = json.dumps(config.to_json()).encode()
        headers = {"Content_Type": "application/json", "X_Hub_Revision": str(config.position)} | headers
        await self.respond("200 OK", body, **headers)

    async def open_stream(self) -> None:
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")

    async def send_event(self, event: ConfigObject | Bookmark) -> None:
        name, identity = ("config", f"id: {event.position}\n") if isinstance(event, ConfigObject) else ("bookmark", "")
        await self.send(f"event: {name}\n{identity}data: {json.dumps(event.to_json())}\n\n".encode())


Handler = Callable[[Exchange], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Answers every request with the handler of the moment, and keeps what was asked."""

    url: str
    handler: Handler
    requests: list[Request] = field(default_factory=list)

    def asked(self, path: str) -> list[Request]:
        """The requests whose target begins so."""
        return [request for request in self.requests if request.target.startswith(f"/api/v1/{path}")]


@asynccontextmanager
async def scripted_server(handler: Handler) -> AsyncIterator[ScriptedServer]:
    connections: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = [line.partition(": ") for line in lines if line]
                headers = {name.lower(): value for name, _, value in fields}
                request = Request(first.split(" ")[1], headers, time.monotonic())
                script.requests.append(request)
                await script.handler(Exchange(request, writer))
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        await converse(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    script = ScriptedServer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", handler)
    try:
        yield script
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
