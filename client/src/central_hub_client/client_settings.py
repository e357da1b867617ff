"""What a client is told: arguments first, then the environment. Nothing here does I/O or raises for bad values.

A wrong value must not keep a service from starting, so it is left out and named in `problems`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from central_hub_client.trust import parse_public_keys
from central_hub_client.wire import DEFAULT_ENVIRONMENT, is_environment_name

NO_HUB: Final = "no hub is named: CENTRAL_HUB_URL is not set"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """The resolved settings of one client. What may be secret stays out of its repr."""

    hub_url: str | None
    token: str | None = field(repr=False)
    environment: str
    nats_servers: tuple[str, ...] = field(repr=False)
    cache_dir: Path | None
    trusted_keys: tuple[bytes, ...]
    seed_file: Path | None
    instance_id: str | None
    problems: tuple[str, ...]

    @property
    def is_hub_local(self) -> bool:
        """Whether the hub is on this machine."""
        return self.hub_url is not None and is_loopback(urlsplit(self.hub_url).hostname or "")

    @property
    def is_channel_authentic(self) -> bool:
        """Whether an answer of the hub proves who speaks: TLS, or this machine itself."""
        return self.is_hub_local or (self.hub_url is not None and self.hub_url.startswith("https:"))


def resolve(
    *,
    hub_url: str | None,
    token: str | None,
    environment: str | None,
    nats_url: str | None,
    enable_nats: bool,
    cache_dir: str | os.PathLike[str] | None,
    instance_id: str | None,
    environ: Mapping[str, str] | None = None,
) -> ClientSettings:
    """Settle what counts. NATS is asked for by `enable_nats` or by giving `nats_url`; the variable alone does not."""
    environ = os.environ if environ is None else environ
    problems: list[str] = []

    def variable(name: str) -> str | None:
        return environ.get(f"CENTRAL_HUB_{name}", "").strip() or None

    hub_url = (hub_url or variable("URL") or "").rstrip("/") or None
    if hub_url is None:
        problems.append(NO_HUB)
    elif (reason := _what_is_wrong_with(hub_url)) is not None:
        problems.append(f"the hub's URL {reason}")
        hub_url = None
    token = token or variable("TOKEN")
    if token is not None and (not _fits_a_header(token) or " " in token):
        problems.append("the token contains characters that no token has")
        token = None
    nats_servers: tuple[str, ...] = ()
    if enable_nats or nats_url:
        given = [part.strip() for part in (nats_url or variable("NATS_URL") or "").split(",") if part.strip()]
        nats_servers = tuple(server for server in given if _is_nats_url(server))
        if len(nats_servers) < len(given):
            # Not which one: a URL of NATS holds credentials.
            problems.append("a server of NATS is not written nats://host:port or tls://host:port")
        elif not given:
            problems.append("NATS was asked for, but neither nats_url nor CENTRAL_HUB_NATS_URL names a server")
    trusted_keys: tuple[bytes, ...] = ()
    try:
        trusted_keys = parse_public_keys(variable("TRUSTED_KEYS") or "")
    except ValueError as error:
        problems.append(f"CENTRAL_HUB_TRUSTED_KEYS: {error}")
    directory = cache_dir or variable("CACHE_DIR")
    seed = variable("SEED_FILE")
    if instance_id is not None and not _fits_a_header(instance_id):
        problems.append("the instance id must be printable ASCII of at most 200 characters")
        instance_id = None
    settings = ClientSettings(
        hub_url=hub_url,
        token=token,
        environment=environment or variable("ENVIRONMENT") or DEFAULT_ENVIRONMENT,
        nats_servers=nats_servers,
        cache_dir=Path(directory) if directory else _default_cache_dir(environ),
        trusted_keys=trusted_keys,
        seed_file=Path(seed) if seed else None,
        instance_id=instance_id,
        problems=tuple(problems),
    )
    if is_environment_name(settings.environment):
        return settings
    # Another environment's configuration would be worse than none: without a name, only the safe defaults are right.
    return replace(
        settings,
        hub_url=None,
        environment=DEFAULT_ENVIRONMENT,
        nats_servers=(),
        cache_dir=None,
        seed_file=None,
        problems=(*problems, f"{settings.environment[:60]!r} cannot name an environment"),
    )


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its very address; a name other than `localhost` could be anybody's."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _what_is_wrong_with(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port_is_given = parts.port is not None
    except ValueError:
        return "cannot be read"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must start with http:// or https:// and name a host"
    if parts.username or parts.password:
        return "must not contain credentials; a token has its own setting"
    if parts.query or parts.fragment or (port_is_given and parts.port == 0):
        return "must not have a query, a fragment or port 0"
    return None


def _is_nats_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("nats", "tls", "ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _fits_a_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip() and 0 < len(text) <= 200


def _default_cache_dir(environ: Mapping[str, str]) -> Path | None:
    if configured := environ.get("XDG_CACHE_HOME"):
        return Path(configured) / "central-hub"
    try:
        return Path.home() / ".cache" / "central-hub"
    except RuntimeError:  # a process without a home directory
        return None
