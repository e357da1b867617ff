"""Posts to a webhook, once: to an address that it may go to, over TLS that is verified, and nowhere else.

Whether an address is one that it may go to is decided on the very address that is connected to. Redirects are not
followed, and no proxy of the environment is used: both would have somebody else decide where it goes.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
from central_hub.connections.plain_file import check_is_file
from central_hub.connections.probed_address import why_private, why_refused

TIMEOUT_SECONDS: Final = 10.0
"""For all of it: the look-up of the name, the connection, and the status of the answer."""
_CONNECT_SECONDS: Final = 3.0


class NotPosted(Exception):
    """No status was answered. The message says why, and nothing of the URL but its host."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The status, and for how long the receiver wants to be left alone, as he spelled it."""

    status: int
    retry_after: str | None


class WebhookPost:
    """Every post is a connection of its own, and remembers nothing of another."""

    def __init__(self) -> None:
        self._names = NameResolver()

    async def post(
        self, target: Target, content: bytes, headers: Mapping[str, str], *, allow_private: bool, ca_file: str | None
    ) -> Answered:
        """The answer to a POST. Raises NotPosted."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                addresses = await self._addresses(target, allow_private=allow_private)
                tls = self._known_authorities if ca_file is None else _authorities(ca_file)
                return await _first_answer(target, addresses, content, headers, tls)
        except TimeoutError:
            raise NotPosted(f"no answer within {TIMEOUT_SECONDS:g} s") from None

    async def _addresses(self, target: Target, *, allow_private: bool) -> list[str]:
        try:
            found = await self._names.addresses(target.host) if is_name(target.host) else [target.host]
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise NotPosted(f"{target.host} does not resolve") from error
        refused = {address: _why_not(address, allow_private=allow_private) for address in found}
        allowed = [address for address, why in refused.items() if why is None]
        if not allowed:
            raise NotPosted(f"not sent: {target.host} {next(iter(refused.values()), 'has no address')}")
        return allowed[:MAX_ADDRESSES]

    @cached_property
    def _known_authorities(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _why_not(address: str, *, allow_private: bool) -> str | None:
    parsed = ip_address(address)
    if (refused := why_refused(parsed)) is not None:
        return f"is {refused}"
    if not allow_private and (private := why_private(parsed)) is not None:
        return f"is {private}; allow_private: true on the channel allows it"
    return None


def _authorities(ca_file: str) -> ssl.SSLContext:
    # Read each time: the file may have been replaced.
    try:
        check_is_file(ca_file)
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # SSLError is one
        raise NotPosted(f"the ca_file {ca_file} cannot be read as certificates") from error


async def _first_answer(
    target: Target, addresses: list[str], content: bytes, headers: Mapping[str, str], tls: ssl.SSLContext
) -> Answered:
    """That of the first address to which a connection can be made: who may have got the request is the only one."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    failure: NotPosted | None = None
    largest = MAX_HEAD_BYTES + MAX_BODY_BYTES
    async with meter(httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits), largest) as transport:
        for address in addresses:
            try:
                request = pinned_request("POST", target, address, headers=headers, content=content)
                request.extensions["timeout"] = {"connect": _CONNECT_SECONDS}
                response = await transport.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = NotPosted(_why_no_connection(error))
                continue
            except (httpx2.TransportError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
                raise NotPosted("the connection was closed without a valid answer") from error
            try:
                await read_a_little(response)
            finally:
                await response.aclose()
            return Answered(response.status_code, response.headers.get("retry-after"))
    raise failure or NotPosted("no connection could be made")


def _why_no_connection(error: Exception) -> str:
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "TLS could not be agreed on"
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return "the connection was refused"
        if isinstance(cause, socket.timeout | httpx2.ConnectTimeout):
            return f"no connection within {_CONNECT_SECONDS:g} s"
    return "no connection could be made"
