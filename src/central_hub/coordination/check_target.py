"""Where the health endpoint of an instance is. Pure."""

import re
from typing import Final
from urllib.parse import urlsplit

from central_hub.connections.pinned_request import PORTS, Target
from central_hub.storage.instance_values import Description

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|\[?[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]?")


def has_target(description: Description) -> bool:
    """Whether an instance says that it has a health endpoint, and where it is itself."""
    return description.health_endpoint is not None and description.host is not None


def target_of(description: Description) -> Target:
    """Its health endpoint: a path on it, or a URL on its host. Raises ValueError with why it is not asked."""
    endpoint, host = description.health_endpoint or "", description.host or ""
    if _HOST.fullmatch(host) is None:
        raise ValueError("its host is neither a name nor an address")
    host = _bare(host)
    if endpoint.startswith("/"):
        scheme = description.protocol or "http"
        if scheme not in PORTS:
            raise ValueError(f"a path is asked for by http or https, and its protocol is {scheme}")
        return Target(scheme, host, description.port or PORTS[scheme], endpoint.partition("#")[0])
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise ValueError("its health_endpoint is not a URL") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("its health_endpoint is neither a path nor a URL of http or https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("its health_endpoint contains credentials")
    if parts.hostname != host.lower():
        raise ValueError("its health_endpoint is on another host than it is itself")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, PORTS[parts.scheme] if port is None else port, path)


def _bare(host: str) -> str:
    return host.removeprefix("[").removesuffix("]")
