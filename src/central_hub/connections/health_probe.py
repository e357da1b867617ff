"""Asks a health endpoint, once: an HTTP GET that trusts nothing of the answer but its status."""

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import httpx2

from central_hub.connections.metered_answers import meter
from central_hub.connections.name_resolver import NameResolver
from central_hub.connections.pinned_request import (
    MAX_ADDRESSES,
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    Target,
    causes,
    is_name,
    pinned_request,
    read_a_little,
)
from central_hub.connections.probed_address import why_refused

TIMEOUT_SECONDS: Final = 2.0
# What goes wrong on this side says nothing about the instance.
_OWN_FAULTS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENETDOWN, errno.ENETUNREACH, errno.EADDRNOTAVAIL}
)
_UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})


@dataclass(frozen=True, slots=True)
class Probed:
    """How it went: `ok` is None where nothing could be measured. `latency_ms` is the time until the status was there,
    from the beginning of the connection; None without an answer."""

    ok: bool | None
    reason: str | None = None
    latency_ms: float | None = None


NOT_LOOKED_UP: Final = Probed(None, "its name could not be looked up in time")


class HealthProbe:
    """Every check is a connection of its own: one that is kept open would not notice that nobody listens any more.

    The certificate of an endpoint is not looked at: nothing is sent that is worth protecting, and the state of an
    instance is not the place to learn that the hub does not know its certificate authority.
    """

    def __init__(self) -> None:
        self._names = NameResolver()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        self._transport = plain_transport(tls)

    async def close(self) -> None:
        await self._transport.aclose()

    async def ask(self, target: Target) -> Probed:
        """Whether the endpoint answers with 2xx, within two seconds in all."""
        deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await addresses_of(target.host, self._names)
        except TimeoutError:
            return NOT_LOOKED_UP
        if isinstance(addresses, Probed):
            return addresses
        allowed = []
        refused = None
        for address in addresses:
            kind = why_refused(ip_address(address))
            if kind is None:
                allowed.append(address)
            else:
                refused = kind
        if not allowed:
            return Probed(None, f"not asked: {target.host} is {refused}")
        try:
            async with asyncio.timeout_at(deadline):
                answer = await first_answer(self._transport, target, allowed)
        except TimeoutError:
            return Probed(False, f"no answer within {TIMEOUT_SECONDS:g} s")
        if isinstance(answer, Probed):
            return answer
        response, latency_ms = answer
        try:
            await read_a_little(response)
        finally:
            await response.aclose()
        ok = 200 <= response.status_code < 300
        return Probed(ok, None if ok else said(response.status_code), latency_ms)


def plain_transport(tls: ssl.SSLContext, *, largest_body: int = MAX_BODY_BYTES) -> httpx2.AsyncHTTPTransport:
    """The transport, not a client: no cookies, no redirects, no proxies, nothing remembered from one to the next."""
    transport = httpx2.AsyncHTTPTransport(
        verify=tls,
        trust_env=False,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
    )
    return meter(transport, MAX_HEAD_BYTES + largest_body)


async def addresses_of(host: str, names: NameResolver) -> list[str] | Probed:
    """The addresses to try, in their order, or why there are none. Who asks sets the time, as NOT_LOOKED_UP tells."""
    if not is_name(host):
        return [host]
    try:
        addresses = await names.addresses(host)
    except TimeoutError:
        return NOT_LOOKED_UP
    except OSError as error:
        is_unknown = isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
        return Probed(False if is_unknown else None, "its name does not resolve")
    return addresses or Probed(False, "its name has no address")


async def first_answer(
    transport: httpx2.AsyncHTTPTransport,
    target: Target,
    addresses: list[str],
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> tuple[httpx2.Response, float] | Probed:
    """The first answer of any of the addresses, its body not read yet, and its latency in ms; or why there is none."""
    failed = Probed(False)
    for address in addresses[:MAX_ADDRESSES]:
        started = time.perf_counter()
        try:
            response = await transport.handle_async_request(
                pinned_request(method, target, address, headers=headers or {}, content=content)
            )
        except (httpx2.TransportError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
            failed = failure(error)
            continue
        return response, (time.perf_counter() - started) * 1000
    return failed


def failure(error: Exception) -> Probed:
    """What an error of the system, of TLS or of httpx2 says, and whose fault it is. Nothing of it is quoted."""
    found = list(causes(error))
    numbers = {cause.errno for cause in found if isinstance(cause, OSError)}
    if numbers & _OWN_FAULTS:
        return Probed(None, "the hub cannot make connections")
    if errno.ECONNREFUSED in numbers:
        return Probed(False, "the connection was refused")
    if numbers & _UNREACHABLE:
        return Probed(False, "the host is unreachable")
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in found):
        return Probed(False, "its certificate is not trusted")
    if any(isinstance(cause, ssl.SSLError) for cause in found):
        return Probed(False, "TLS could not be agreed on")
    if any(isinstance(cause, httpx2.ConnectError) for cause in found):
        return Probed(False, "no connection could be made")
    return Probed(False, "the connection was closed without a valid answer")


def said(status: int) -> str:
    return f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
