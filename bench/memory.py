"""What documents and open watchers cost the hub in memory."""

import asyncio
import resource
from typing import Final

from bench.figures import Figure
from bench.hub import Servers, running_hub

DOCUMENTS: Final = 1_000
AIM_BYTES_A_WATCHER: Final = 30 * 1024


async def measure(servers: Servers, *, watchers: int) -> list[Figure]:
    """The hub with a thousand documents of 1 KB, then with many streams open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, watchers * 2 + 1024)), hard))
    async with running_hub(servers) as hub:
        empty = hub.resident_bytes()
        for number in range(DOCUMENTS):
            await hub.put(f"svc-{number}", {f"key-{index}": "v" * 20 for index in range(32)})
        full = hub.resident_bytes()
        streams = []
        for number in range(watchers):
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
            fields = "".join(f"{name}: {value}\r\n" for name, value in hub.headers.items())
            target = f"/api/v1/config/watch?service=svc-{number % DOCUMENTS}"
            writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode())
            streams.append((reader, writer))
        await asyncio.gather(*(reader.readuntil(b"event: config") for reader, _ in streams))
        draining = [asyncio.create_task(_drain(reader)) for reader, _ in streams]
        await asyncio.sleep(5)
        watched = hub.resident_bytes()
        for task in draining:
            task.cancel()
        for _, writer in streams:
            writer.close()
    each = (watched - full) / watchers
    return [
        Figure("memory of a hub without documents", f"{empty / 1e6:.0f} MB"),
        Figure(f"… with {DOCUMENTS:,} documents of 1 KB", f"{full / 1e6:.0f} MB"),
        Figure(
            f"… for each of {watchers:,} open watchers",
            f"{each / 1024:.0f} KB",
            aim=f"<= {AIM_BYTES_A_WATCHER // 1024} KB",
            reached=each <= AIM_BYTES_A_WATCHER,
        ),
    ]


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass
