"""Asks a health endpoint, once: an HTTP GET that trusts nothing of the answer but its status."""

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import httpx2

from central_hub.connections.name_resolver import NameResolver
from central_hub.connections.probed_address import why_refused

TIMEOUT_SECONDS: Final = 2.0
MAX_BODY_BYTES: Final = 4096
_MAX_ADDRESSES: Final = 4
# What goes wrong on this side says nothing about the instance.
_OWN_FAULTS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENETDOWN, errno.ENETUNREACH, errno.EADDRNOTAVAIL}
)


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask: `host` is a name or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str


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
                addresses = await self._names.addresses(target.host) if _is_name(target.host) else [target.host]
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
                response, probed = await self._get(target, allowed[:_MAX_ADDRESSES])
        except TimeoutError:
            return Probed(False, f"no answer within {TIMEOUT_SECONDS:g} s")
        if response is not None:
            try:
                await _read_a_little(response)
            finally:
                await response.aclose()
        return probed

    async def _get(self, target: Target, addresses: list[str]) -> tuple[httpx2.Response | None, Probed]:
        """The first answer of any of the addresses, its body not read yet."""
        failure = Probed(False)
        for address in addresses:
            started = time.perf_counter()
            try:
                response = await self._transport.handle_async_request(_request(target, address))
            except (httpx2.TransportError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
                failure = _failure(error)
                continue
            latency_ms = (time.perf_counter() - started) * 1000
            ok = 200 <= response.status_code < 300
            return response, Probed(ok, None if ok else _said(response.status_code), latency_ms)
        return None, failure


async def _read_a_little(response: httpx2.Response) -> None:
    """What is left unread is answered with a reset, which servers log as an error. A status stands whatever follows."""
    size = 0
    with suppress(httpx2.TransportError, OSError, TimeoutError):
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in response.aiter_raw():
                size += len(part)
                if size >= MAX_BODY_BYTES:
                    return


_BODY_SECONDS: Final = 0.25


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def _request(target: Target, address: str) -> httpx2.Request:
    shown = f"[{target.host}]" if ":" in target.host else target.host
    return httpx2.Request(
        "GET",
        httpx2.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode()),
        headers={
            "Host": f"{shown}:{target.port}",
            "User-Agent": "central-hub",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        },
        extensions={"sni_hostname": target.host},
    )


def _failure(error: Exception) -> Probed:
    causes = list(_causes(error))
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if numbers & _OWN_FAULTS:
        return Probed(None, "the hub cannot make connections")
    if errno.ECONNREFUSED in numbers:
        return Probed(False, "the connection was refused")
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Probed(False, "TLS could not be agreed on")
    if any(isinstance(cause, httpx2.ConnectError) for cause in causes):
        return Probed(False, "no connection could be made")
    return Probed(False, "the connection was closed without a valid answer")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _causes(inner)
        error = error.__cause__ or error.__context__


def _said(status: int) -> str:
    return f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
