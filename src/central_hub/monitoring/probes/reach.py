"""How a probe gets to its target: addresses looked up by the hub's own resolver, TLS, and nothing left open."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

from central_hub.connections.health_probe import Probed, addresses_of
from central_hub.connections.name_resolver import NameResolver
from central_hub.connections.pinned_request import MAX_ADDRESSES
from central_hub.connections.plain_file import check_is_file
from central_hub.monitoring.probes.options import ProbeOptions

LARGEST_LINE_BYTES: Final = 64 * 1024


class Found(Exception):
    """A probe ends before its time, with what it found."""

    def __init__(self, ok: bool | None, reason: str) -> None:
        super().__init__(reason)
        self.probed = Probed(ok, reason)


class Reach:
    """The way of one probe to its target. `deadline` is in the time of the event loop."""

    def __init__(self, names: NameResolver, deadline: float) -> None:
        self._names = names
        self.deadline = deadline
        self.is_looking_up = False
        """Whether a name is what it waits for: then the target is not to blame."""

    async def addresses(self, host: str) -> list[str]:
        """The addresses to try, in their order. Raises Found where there are none."""
        self.is_looking_up = True
        found = await addresses_of(host, self._names)
        self.is_looking_up = False
        if isinstance(found, Probed):
            raise Found(found.ok, found.reason or "")
        return found[:MAX_ADDRESSES]

    def seconds_left(self) -> float:
        return max(self.deadline - asyncio.get_running_loop().time(), 0)

    def share(self, left: int) -> asyncio.Timeout:
        """The time for one of `left` attempts, so that one that hangs leaves some to the others."""
        return asyncio.timeout(self.seconds_left() / left)

    @asynccontextmanager
    async def dial(
        self, host: str, port: int, tls: ssl.SSLContext | None
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the first of its addresses that takes one, cut when the block ends. Raises OSError."""
        addresses = await self.addresses(host)
        for number, address in enumerate(addresses):
            is_last = number == len(addresses) - 1
            try:
                async with self.share(len(addresses) - number):
                    reader, writer = await asyncio.open_connection(
                        address,
                        port,
                        ssl=tls,
                        server_hostname=None if tls is None else host,
                        limit=LARGEST_LINE_BYTES,
                    )
                break
            except OSError:
                if is_last:
                    raise
        try:
            yield reader, writer
        finally:
            # Not closed: a peer that reads nothing, or does not end its side of TLS, would keep the socket.
            writer.transport.abort()


def tls_context(options: ProbeOptions, *, whatever_the_name: bool = False) -> ssl.SSLContext:
    """What checks certificates as the options say. Raises Found where the file of authorities is of no use."""
    if not options.verify:
        return _unchecked()
    if options.ca_file is None:
        return _trusting(None, 0, whatever_the_name)
    try:
        check_is_file(options.ca_file)
        return _trusting(options.ca_file, Path(options.ca_file).stat().st_mtime_ns, whatever_the_name)
    except OSError:  # of which ssl.SSLError, for what is no certificate
        raise Found(None, f"the file of certificate authorities cannot be read: {options.ca_file}") from None


def tls_if_asked(is_asked: bool, options: ProbeOptions) -> ssl.SSLContext | None:
    return tls_context(options) if is_asked else None


# Kept: reading the authorities of the system takes tens of milliseconds.
@lru_cache(maxsize=64)
def _trusting(ca_file: str | None, _changed: int, whatever_the_name: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.check_hostname = not whatever_the_name
    return context


@lru_cache(maxsize=1)
def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answered(started: float) -> Probed:
    """It is well; `started` is of `time.perf_counter`."""
    return Probed(True, None, (time.perf_counter() - started) * 1000)
