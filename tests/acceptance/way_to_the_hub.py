"""The way from services to their hub, at whose end somebody else may answer for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.wire.bad_hubs import Handler
from tests.wire.scripted_server import Exchange, Request


class WayToTheHub:
    """Straight to the hub, unless it leads to somebody else. What was open when that changes is cut."""

    def __init__(self, hub_port: int) -> None:
        self.port = 0
        self.connections = 0
        self.asked: set[tuple[str, str]] = set()
        """The services whose configuration somebody else was asked for, each with the instance that asked."""
        self._hub_port = hub_port
        self._handler: Handler | None = None
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def begin(self) -> None:
        """Let somebody answer, on the same port each time."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def end(self) -> None:
        """Nobody listens."""
        assert self._server is not None
        self._server.close()
        self._cut()

    def lead_to(self, handler: Handler) -> None:
        self._handler = handler
        self.asked.clear()
        self._cut()

    def lead_to_the_hub(self) -> None:
        self._handler = None
        self._cut()

    def _cut(self) -> None:
        for task, writer in self._open.items():
            writer.transport.abort()
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        self.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if self._handler is None:
                    await self._forward(reader, writer)
                else:
                    await self._answer(reader, writer, self._handler)
        finally:
            del self._open[task]
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        target = first.split(" ")[1]
        _, asks_for_config, service = target.partition("?")[0].partition("/config/")
        if asks_for_config and service != "watch":
            self.asked.add((service, headers["x-hub-instance"]))
        await handler(Exchange(Request(target, headers, asyncio.get_running_loop().time()), writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._hub_port)
        try:
            pumps = [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(65536):
            sink.write(chunk)
            await sink.drain()


@asynccontextmanager
async def way_to_the_hub(hub_port: int) -> AsyncIterator[WayToTheHub]:
    way = WayToTheHub(hub_port)
    await way.begin()
    try:
        yield way
    finally:
        way.end()
