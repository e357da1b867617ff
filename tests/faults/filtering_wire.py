"""A wire between a client and a server on which something happens to what the server sends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Filter = Callable[[bytes], bytes]


class _Wire:
    def __init__(self, host: str, port: int, new_filter: Callable[[], Filter]) -> None:
        self._upstream = host, port
        self._new_filter = new_filter
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self.writers |= {writer, up_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_forward(reader, up_writer, bytes))
                group.create_task(_forward(up_reader, writer, self._new_filter()))
        finally:
            for each in (writer, up_writer):
                each.transport.abort()
                self.writers.discard(each)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Filter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(passes(chunk))
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxy_to(host: str, port: int, new_filter: Callable[[], Filter]) -> AsyncIterator[int]:
    """The port of a proxy. Each connection has a filter of its own, for what comes from the server."""
    wire = _Wire(host, port, new_filter)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in wire.writers:
            writer.transport.abort()
        await server.wait_closed()
