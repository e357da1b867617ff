"""The PostgreSQL that the demonstration's services run on: no part of the hub, which only looks whether it is well.

    python -m examples.demonstration.platform_postgres DIRECTORY PORT

It says `listening` once it answers, with its user and password in the file `database.url` of the directory, and ends
with SIGTERM.
"""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

from central_hub.embedded import postgres
from central_hub.embedded.binaries import find_postgres
from central_hub.embedded.directory import DataDirectory

_SOCKET = ".s.PGSQL.5432"


async def run(path: Path, port: int) -> None:
    """Serve until the process is told to end."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    directory = DataDirectory(path)
    directory.take()
    try:
        async with AsyncExitStack() as running:
            directory.note_running()
            await postgres.start(directory, find_postgres(), running)
            # The embedded server has a socket in its directory alone; services of a platform come over the network.
            door = await asyncio.start_server(partial(_forward, path / "run" / _SOCKET), "127.0.0.1", port)
            running.callback(door.close)
            print("listening", flush=True)
            await ended.wait()
    finally:
        directory.release(servers_ended=True)


async def _forward(path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        to_server, server = await asyncio.open_unix_connection(path)
        await asyncio.gather(_copy(reader, server), _copy(to_server, writer))
    writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
