"""Takes no more of an answer than there is any use for. Whoever is asked may send informational answers (1xx) for ever:
each is parsed, and while that goes on the event loop does little else."""

from typing import Any, Final

import httpx2

PIECE_BYTES: Final = 4096
"""What is parsed at once; in between it is the turn of others."""


def meter(transport: httpx2.AsyncHTTPTransport, largest: int) -> httpx2.AsyncHTTPTransport:
    """Let each connection of the transport take so many bytes, its head among them."""
    # httpx2 has no parameter for what httpcore2 calls a network backend.
    pool: Any = transport._pool
    pool._network_backend = _Backend(pool._network_backend, largest)
    return transport


class _Backend:
    def __init__(self, backend: Any, largest: int) -> None:
        self._backend = backend
        self._largest = largest

    async def connect_tcp(self, *args: Any, **options: Any) -> "_Stream":
        return _Stream(await self._backend.connect_tcp(*args, **options), self._largest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _Stream:
    def __init__(self, stream: Any, left: int) -> None:
        self._stream = stream
        self._left = left

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._left <= 0:
            raise httpx2.RemoteProtocolError("the answer is too long")
        piece: bytes = await self._stream.read(min(max_bytes, PIECE_BYTES), timeout)
        self._left -= len(piece)
        return piece

    async def start_tls(self, *args: Any, **options: Any) -> "_Stream":
        return _Stream(await self._stream.start_tls(*args, **options), self._left)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
