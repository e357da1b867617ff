"""A request over HTTP to an address that was looked at before: a name is resolved once, and what answers under that
name the next time is not asked."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import httpx2

MAX_BODY_BYTES: Final = 4096
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_ADDRESSES: Final = 4
PORTS: Final = {"http": 80, "https": 443}
BODY_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask: `host` is a name or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str


def is_name(host: str) -> bool:
    """Whether the addresses of a host have to be looked up."""
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def pinned_request(
    method: str, target: Target, address: str, *, headers: Mapping[str, str], content: bytes | None = None
) -> httpx2.Request:
    """The request to this address, with the name of the host in its header and, for TLS, in what a certificate must be
    for. The connection is closed after it."""
    shown = f"[{target.host}]" if ":" in target.host else target.host
    return httpx2.Request(
        method,
        httpx2.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode()),
        headers={
            "Host": shown if PORTS.get(target.scheme) == target.port else f"{shown}:{target.port}",
            "User-Agent": "central-hub",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **headers,
        },
        content=content,
        extensions={"sni_hostname": target.host},
    )


async def read_a_little(
    response: httpx2.Response, *, largest: int = MAX_BODY_BYTES, seconds: float = BODY_SECONDS, until: bytes = b""
) -> bytes:
    """The beginning of the body, as far as it comes in time, until something is in it. What follows is no fault.

    What is left unread is answered with a reset, which servers log as an error: so some is read even of no interest.
    """
    body = bytearray()
    with suppress(httpx2.TransportError, OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            async for part in response.aiter_raw():
                body += part
                if len(body) >= largest or (until and until in body):
                    break
    return bytes(body[:largest])


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and whatever is behind it."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from causes(inner)
        error = error.__cause__ or error.__context__
