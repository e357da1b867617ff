"""The old prefix `/api`: the same routes under their old name, with a note that says where they are now."""

from typing import Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from central_hub_client.wire import API_PREFIX

OLD_PREFIX: Final = "/api/"
DEPRECATED_SINCE: Final = "@1793404800"  # 2026-11-01, as RFC 9745 writes it
SUNSET: Final = "Mon, 01 Nov 2027 00:00:00 GMT"  # RFC 8594


class LegacyPrefix:
    """ASGI middleware: `/api/x` is answered by `/api/v1/x`. It has no rules of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_old(scope["path"], scope["raw_path"]):
            await self._app(scope, receive, send)
            return
        rest = scope["path"].removeprefix(OLD_PREFIX)
        raw_rest = scope["raw_path"].removeprefix(OLD_PREFIX.encode())
        prefix = f"{API_PREFIX}/"
        successor = f"{prefix}{quote(raw_rest, safe='/%')}"

        async def send_with_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Deprecation"] = DEPRECATED_SINCE
                headers["Sunset"] = SUNSET
                headers.append("Link", f'<{successor}>; rel="successor-version"')
            await send(message)

        new = {**scope, "path": prefix + rest, "raw_path": prefix.encode() + raw_rest}
        await self._app(new, receive, send_with_note)


def _is_old(path: str, raw_path: bytes) -> bool:
    old, new = OLD_PREFIX, f"{API_PREFIX}/"
    return (
        path.startswith(old) and raw_path.startswith(old.encode()) and not path.startswith(new) and path != API_PREFIX
    )
