"""For the tests of a service: a hub of one's own, and no way out of this machine.

The pytest plugin, `central_hub_client.pytest_plugin`, is found by itself where pytest is; nothing here needs pytest.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from central_hub_client.client_settings import is_loopback
from central_hub_client.fake_hub import Asked, FakeHub

__all__ = ["Asked", "FakeHub", "NetworkRefused", "refuse_network"]


class NetworkRefused(ConnectionRefusedError):
    """The code under test reached for the network. It looks like a machine without one."""


@contextmanager
def refuse_network() -> Iterator[None]:
    """Within the block, Python's sockets reach this machine and no other, and names other than its own are unknown.

    Code that opens sockets without Python's `socket` (uvloop, libpq) is not held back.
    """
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
    getaddrinfo = socket.getaddrinfo

    def checked_connect(self: socket.socket, address: Any) -> None:
        _check(self, address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        _check(self, address)
        return connect_ex(self, address)

    def checked_sendto(self: socket.socket, payload: Any, *rest: Any) -> int:
        _check(self, rest[-1])
        return sendto(self, payload, *rest)

    def checked_getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name and not is_loopback(name) and not _is_address(name):
            raise NetworkRefused(f"the network is refused here: {name}")
        return getaddrinfo(host, *arguments, **named)

    _replace(connect=checked_connect, connect_ex=checked_connect_ex, sendto=checked_sendto)
    socket.getaddrinfo = checked_getaddrinfo
    try:
        yield
    finally:
        _replace(connect=connect, connect_ex=connect_ex, sendto=sendto)
        socket.getaddrinfo = getaddrinfo


def _replace(**methods: Callable[..., Any]) -> None:
    for name, method in methods.items():
        setattr(socket.socket, name, method)


def _check(connection: socket.socket, address: Any) -> None:
    is_of_the_network = connection.family in (socket.AF_INET, socket.AF_INET6)
    if is_of_the_network and not is_loopback(str(address[0])):
        raise NetworkRefused(f"the network is refused here: {address[0]}")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
