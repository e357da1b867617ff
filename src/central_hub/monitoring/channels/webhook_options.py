"""What a webhook is configured with, once its credentials are in their places. Pure. No message shows a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from central_hub.connections.pinned_request import PORTS, Target


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Where it is, what it is signed with, and whether it may be in the private network."""

    target: Target
    secrets: tuple[str, ...] = field(repr=False)
    allow_private: bool
    ca_file: str | None


def webhook_options(options: Mapping[str, Any]) -> WebhookOptions:
    """Raises ValueError."""
    secret = options.get("secret")
    secrets = tuple(secret) if isinstance(secret, list) else (secret,)
    if not secrets or not all(isinstance(one, str) and one for one in secrets):
        raise ValueError("secret must be a text, or a list of texts while one is replaced by another")
    allow_private, ca_file = options.get("allow_private", False), options.get("ca_file")
    if not isinstance(allow_private, bool):
        raise ValueError("allow_private must be true or false")
    if ca_file is not None and not isinstance(ca_file, str):
        raise ValueError("ca_file must be the path of a file")
    return WebhookOptions(_target(options.get("url")), secrets, allow_private, ca_file)


def _target(url: object) -> Target:
    if not isinstance(url, str):
        raise ValueError("url must be a URL of http or https")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:  # UnicodeError is one
        raise ValueError("url is not a URL") from None
    if parts.scheme not in PORTS or not host:
        raise ValueError("url must be a URL of http or https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url contains a user or a password: receivers know the hub by the signature")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError("url contains characters that must be percent-encoded")
    return Target(parts.scheme, host, PORTS[parts.scheme] if port is None else port, path)
