"""A server under measurement: a process of its own, started, waited for, and stopped."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Server:
    """A running server on a port of this machine."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """User and system time so far, of its workers as well: steadier than a rate on a machine that others use."""
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return sum(time.user + time.system for time in times)

    def resident_bytes(self) -> int:
        """Memory that is in use now."""
        resident: int = self.process.memory_info().rss
        return resident


@asynccontextmanager
async def running(
    argv: Sequence[str],
    port: int,
    *,
    log: Path,
    ready_path: str = "/",
    is_ready_with: str = "200",
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Server]:
    """Start a program and wait until it answers with the status `is_ready_with`; ended with the block."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
    try:
        async with asyncio.timeout(_START_SECONDS):
            while not await _is_ready(port, ready_path, is_ready_with):
                if process.returncode is not None:
                    raise RuntimeError(f"{argv[0]} ended with {process.returncode}: see {log}")
                await asyncio.sleep(0.005)
        yield Server(port, psutil.Process(process.pid))
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _is_ready(port: int, path: str, status: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        return (await reader.readline()).split()[1:2] == [status.encode()]
    except OSError:
        return False
    finally:
        writer.close()
