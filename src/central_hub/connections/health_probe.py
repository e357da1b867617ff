"""Asks a health endpoint, once: an HTTP GET that trusts nothing of the answer but its status."""

import asyncio
import errno
import socket
import ssl
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import httpx2

from central_hub.connections.name_resolver import NameResolver
from central_hub.connections.pinned_request import (
    MAX_ADDRESSES,
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


@dataclass(frozen=True, slots=True)
class Probed:
    """How it went: `ok` is None where nothing could be measured. `latency_ms` is the time until the status was there,
    from the beginning of the connection; None without an answer."""

    ok: bool | None
    reason: str | None = None
    latency_ms: float | None = None


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
        # The transport, not a client: no cookies, no redirects, no proxies, nothing remembered from one to the next.
        self._transport = httpx2.AsyncHTTPTransport(
            verify=tls,
            trust_env=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        await self._transport.aclose()

    async def ask(self, target: Target) -> Probed:
        """Whether the endpoint answers with 2xx, within two seconds in all."""
        deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._names.addresses(target.host) if is_name(target.host) else [target.host]
        except TimeoutError:
            return Probed(None, "its name could not be looked up in time")
        except OSError as error:
            is_unknown = isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
            return Probed(False if is_unknown else None, "its name does not resolve")
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
                response, probed = await self._get(target, allowed[:MAX_ADDRESSES])
        except TimeoutError:
            return Probed(False, f"no answer within {TIMEOUT_SECONDS:g} s")
        if response is not None:
            try:
                await read_a_little(response)
            finally:
                await response.aclose()
        return probed

    async def _get(self, target: Target, addresses: list[str]) -> tuple[httpx2.Response | None, Probed]:
        """The first answer of any of the addresses, its body not read yet."""
        failure = Probed(False)
        for address in addresses:
            started = time.perf_counter()
            try:
                response = await self._transport.handle_async_request(
                    pinned_request("GET", target, address, headers={})
                )
            except (httpx2.TransportError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
                failure = _failure(error)
                continue
            latency_ms = (time.perf_counter() - started) * 1000
            ok = 200 <= response.status_code < 300
            return response, Probed(ok, None if ok else _said(response.status_code), latency_ms)
        return None, failure


def _failure(error: Exception) -> Probed:
    found = list(causes(error))
    numbers = {cause.errno for cause in found if isinstance(cause, OSError)}
    if numbers & _OWN_FAULTS:
        return Probed(None, "the hub cannot make connections")
    if errno.ECONNREFUSED in numbers:
        return Probed(False, "the connection was refused")
    if any(isinstance(cause, ssl.SSLError) for cause in found):
        return Probed(False, "TLS could not be agreed on")
    if any(isinstance(cause, httpx2.ConnectError) for cause in found):
        return Probed(False, "no connection could be made")
    return Probed(False, "the connection was closed without a valid answer")


def _said(status: int) -> str:
    return f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
