"""A wire that can be cut after any byte, between a client on loopback and a server behind a Unix socket."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Which way bytes go."""

    UP = "to the server"
    DOWN = "to the client"


@dataclass(frozen=True)
class Cut:
    """The end after so many bytes in one direction: by a reset, which drops what is on its way, or in good order."""

    direction: Direction
    after: int
    resets: bool


class Proxy:
    """Forwards bytes, and counts them over all connections. Made by `proxy_to`."""

    def __init__(self, upstream: str) -> None:
        self.port = 0
        self.passed: Counter[Direction] = Counter()
        self.cuts = 0
        self._upstream = upstream
        self._cut: Cut | None = None
        self._cut_at = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def cut_after(self, cut: Cut) -> None:
        """Cut all connections once, counted from now on. Those that are made afterwards are left alone."""
        self._cut = cut
        self._cut_at = self.passed[cut.direction] + cut.after

    def mend(self) -> None:
        """Cut nothing that is not cut yet."""
        self._cut = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, until one side ends it."""
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        self._writers |= {writer, up_writer}
        directions = [
            asyncio.create_task(self._forward(Direction.UP, reader, up_writer)),
            asyncio.create_task(self._forward(Direction.DOWN, up_reader, writer)),
        ]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        self._writers -= {writer, up_writer}
        for task in directions:
            task.cancel()
        for each in (writer, up_writer):
            each.close()

    async def _forward(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                cut = self._cut
                if cut is not None and cut.direction is direction:
                    left = self._cut_at - self.passed[direction]
                    if len(chunk) >= left:
                        writer.write(chunk[:left])
                        self._cut_all(cut)
                        return
                self.passed[direction] += len(chunk)
                writer.write(chunk)
                await writer.drain()

    def _cut_all(self, cut: Cut) -> None:
        self._cut = None
        self.cuts += 1
        for writer in self._writers:
            if cut.resets:
                writer.transport.abort()
            else:
                writer.close()


@asynccontextmanager
async def proxy_to(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy on a free port to the server at a Unix socket. Whoever uses it must have left before the end."""
    proxy = Proxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
