"""A wire that can be cut after any byte, or go silent, between a client and a server. On loopback, or to a socket."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import StrEnum


class Direction(StrEnum):
    UP = "up"
    """From the client to the server."""
    DOWN = "down"


Filter = Callable[[bytes], bytes]


class Proxy:
    """Forwards bytes, and counts them over all connections. Made by `proxy_to`."""

    def __init__(self, upstream: str, new_filter: Callable[[], Filter] | None) -> None:
        self.port = 0
        self.passed: Counter[Direction] = Counter()
        self._upstream = upstream
        self._new_filter = new_filter
        self._writers: set[asyncio.StreamWriter] = set()
        self._left: dict[Direction, int] = {}
        self._resets = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    def cut_after(self, direction: Direction, count: int, *, resets: bool) -> None:
        """Once so many more bytes have passed in this direction, end every connection: by a reset, or in good order."""
        self._left = {direction: count}
        self._resets = resets

    def mend(self) -> None:
        """Cut nothing any more."""
        self._left.clear()

    def cut_now(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def go_silent(self) -> None:
        """Forward nothing, and keep every connection open: as a peer that has vanished without a word."""
        self._flowing.clear()

    def speak(self) -> None:
        self._flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        self._writers.add(writer)
        try:
            up_reader, up_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(up_writer)
        try:
            passes = self._new_filter() if self._new_filter is not None else _as_it_is
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(Direction.UP, reader, up_writer, _as_it_is))
                group.create_task(self._forward(Direction.DOWN, up_reader, writer, passes))
        finally:
            for each in (writer, up_writer):
                each.transport.abort()
                self._writers.discard(each)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.startswith("/"):
            return await asyncio.open_unix_connection(self._upstream)
        host, _, port = self._upstream.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _forward(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Filter
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                await self._flowing.wait()
                left = self._left.get(direction)
                if left is not None and len(chunk) >= left:
                    self.passed[direction] += left
                    writer.write(passes(chunk[:left]))
                    self._left.clear()
                    await self._end_all()
                    return
                if left is not None:
                    self._left[direction] = left - len(chunk)
                self.passed[direction] += len(chunk)
                writer.write(passes(chunk))
                await writer.drain()
            writer.close()

    async def _end_all(self) -> None:
        # In good order, so that what was let through arrives; a reset may destroy it on the way.
        for writer in self._writers:
            if self._resets:
                writer.transport.abort()
            else:
                writer.close()


@asynccontextmanager
async def proxy_to(upstream: str, new_filter: Callable[[], Filter] | None = None) -> AsyncIterator[Proxy]:
    """A proxy on a free port. `upstream` is host:port or the path of a socket; a filter sees what comes down."""
    proxy = Proxy(upstream, new_filter)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.speak()
        proxy.cut_now()
        await server.wait_closed()


def _as_it_is(chunk: bytes) -> bytes:
    return chunk
