"""Headers on every answer: what a browser may do with it, and the id by which a log line is found."""

import itertools
import re
import secrets
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

HEADERS: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
# Nothing that this API sends is meant to run, to be framed, or to load anything.
_POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_STRICT_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")
_REQUEST_ID: Final = b"x-request-id"
_SAFE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")

_process: Final = secrets.token_hex(4)
_numbers: Final = itertools.count(1)


class SecurityHeaders:
    """ASGI middleware: security headers and a request id on every answer, the id in every log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id(scope)
        structlog.contextvars.bind_contextvars(request_id=identity.decode())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: Headers = message.setdefault("headers", [])
                names = {name for name, _ in headers}
                headers += [header for header in (*HEADERS, _POLICY) if header[0] not in names]
                headers.append((_REQUEST_ID, identity))
                if b"cache-control" not in names:
                    headers.append((b"cache-control", b"no-store"))
                if scope["scheme"] == "https":
                    headers.append(_STRICT_TRANSPORT)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def request_id(scope: Scope) -> bytes:
    """The caller's id for the request where it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _SAFE_ID.match(value):
            found: bytes = value
            return found
    return b"%s-%x" % (_process.encode(), next(_numbers))
