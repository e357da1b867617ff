"""Answer only for hosts that are ours: a page that rebinds its own name to this address must get nothing."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from central_hub.api.auth import OPEN_PATHS
from central_hub.api.problems import send_problem
from central_hub.errors import WrongHost

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::[0-9]{1,5})?")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class AllowedHosts:
    """The host names that a hub answers for: loopback's, the address it listens on, and the configured ones."""

    def __init__(self, configured: str, listens_on: str) -> None:
        names = [name.strip().lower() for name in configured.split(",") if name.strip()]
        self._any = "*" in names
        self._names = frozenset([*names, *_LOOPBACK, *([] if _is_wildcard(listens_on) else [listens_on.lower()])])
        # Callers send the same few hosts all the time.
        self._names_one = lru_cache(maxsize=256)(self._decide)

    def __contains__(self, host: bytes) -> bool:
        """Whether a Host header, with or without a port, names one of them."""
        return self._names_one(host)

    def _decide(self, host: bytes) -> bool:
        if self._any:
            return True
        text = host.decode("latin-1").lower()
        return text in self._names or _without_port(text) in self._names


class HostCheck:
    """ASGI middleware: 421 for a foreign Host. The two open health paths answer all: orchestrators ask by address."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["raw_path"] not in OPEN_PATHS:
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            if len(hosts) != 1 or hosts[0] not in self._allowed:
                await send_problem(
                    send, WrongHost("this hub does not answer for that host name: add it to CENTRAL_HUB_ALLOWED_HOSTS")
                )
                return
        await self._app(scope, receive, send)


def _without_port(host: str) -> str:
    match = _HOST.fullmatch(host)
    return host if match is None else match[1] or match[2]


def _is_wildcard(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False
