"""A load balancer at its worst: each connection goes to whichever server chance picks, and is cut at any moment."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence


class TcpForwarder:
    """Forwards connections from one address to one of several; it knows nothing of what passes."""

    def __init__(self, ports: Sequence[int], rng: random.Random) -> None:
        self.connections = 0
        self.cut = 0
        self._ports = ports
        self._rng = rng
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Forward during the block; gives the URL to ask at."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            self.cut_all()

    def cut_all(self) -> None:
        """End every connection there is."""
        self.cut += len(self._open)
        for task in self._open:
            task.cancel()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection("127.0.0.1", self._rng.choice(self._ports))
                try:
                    await asyncio.wait(
                        [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    back.transport.abort()
        finally:
            self._open.discard(task)
            writer.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(65536):
            sink.write(chunk)
            await sink.drain()
