"""Hundreds of targets in a process of their own: what it takes to answer is not what is measured.

`python -m bench.probed`, with a line of JSON on its standard input: the targets, each with its kind and whether it
hangs, and where PostgreSQL and NATS are. It answers with the port of each, and, once its input ends, with the moments
at which each was asked.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    kinds: dict[str, Serve] = {
        "http": _answer,
        "tcp": _nothing,
        "postgres": lambda reader, writer: _forward(reader, writer, wanted["postgres"]),
        "nats": lambda reader, writer: _forward(reader, writer, wanted["nats"]),
    }
    asked: dict[str, list[float]] = {}
    ports, servers = {}, []
    for name, kind, hangs in wanted["targets"]:
        server = await _listen(_hang if hangs else kinds[kind], asked.setdefault(name, []))
        servers.append(server)
        ports[name] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(asked), flush=True)
    os._exit(0)  # whatever hangs


async def _listen(serve: Serve, asked: list[float]) -> asyncio.Server:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(time.monotonic())
        with suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.transport.abort()

    return await asyncio.start_server(accept, "127.0.0.1", 0)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Take what comes, until the other side has enough of it."""
    while await reader.read(65_536):
        pass


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: Any) -> None:
    opening = asyncio.open_unix_connection(to) if isinstance(to, str) else asyncio.open_connection(*to)
    there, back = await opening
    try:
        pumps = [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
    finally:
        back.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(65_536):
            sink.write(chunk)
            await sink.drain()


if __name__ == "__main__":
    asyncio.run(main())
