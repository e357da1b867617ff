"""Stands between a target and a library that opens its own sockets."""

import asyncio
import socket
import ssl
from types import TracebackType
from typing import Any, Final, Self

from central_hub.monitoring.probes.reach import Found

MOST_BYTES: Final = 16 * 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024


class Wires:
    """The event loop, as such a library sees it: what it connects leads through here, and is cut when the block ends.

    A library keeps whatever comes until the length is there that a target has announced, which may be any; more than 16
    MB do not get to it. And certificates are checked for the name that was asked for, not for the address of it.
    """

    def __init__(self, host: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._bytes_left = MOST_BYTES
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Raises Found where the target sent too much."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        if self._bytes_left < 0 and not isinstance(error, asyncio.CancelledError):
            raise Found(False, f"it sends more than {MOST_BYTES // 1024 // 1024} MB")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Any, address: str, port: int, *, ssl: ssl.SSLContext | None = None
    ) -> Any:
        """What the library takes for the connection is one end of a pair; at the other, all is passed on."""
        reader, writer = await asyncio.open_connection(address, port, limit=_PIECE_BYTES)
        self._writers.append(writer)
        mine, theirs = socket.socketpair()
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(sock=mine, limit=_PIECE_BYTES)
            self._writers.append(inner_writer)
            self._tasks += [
                asyncio.create_task(self._pass_on(reader, inner_writer, is_counted=True)),
                asyncio.create_task(self._pass_on(inner_reader, writer, is_counted=False)),
            ]
            return await self._loop.create_unix_connection(
                factory, sock=theirs, ssl=ssl, server_hostname=None if ssl is None else self._host
            )
        except BaseException:
            mine.close()
            theirs.close()
            raise

    async def start_tls(self, transport: Any, protocol: Any, context: ssl.SSLContext, **_: Any) -> Any:
        return await self._loop.start_tls(transport, protocol, context, server_hostname=self._host)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_counted: bool) -> None:
        try:
            while received := await reader.read(_PIECE_BYTES):
                if is_counted:
                    self._bytes_left -= len(received)
                    if self._bytes_left < 0:
                        break
                writer.write(received)
                await writer.drain()
            # Not closed: that is for the end of the block, which cuts what still has something to send.
            writer.write_eof()
        except OSError:
            writer.transport.abort()
