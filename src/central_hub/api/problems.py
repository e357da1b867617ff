"""Errors as the caller sees them: RFC 9457 problem documents with a stable code."""

from typing import Any, Final

from starlette.types import Send

from central_hub.api.encoding import encode
from central_hub.errors import HubError

MEDIA_TYPE: Final = "application/problem+json"
_RETRY: Final = (429, 503)


def problem_body(error: HubError) -> bytes:
    """The problem document."""
    document: dict[str, Any] = {
        "type": f"urn:central-hub:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        **error.extra,
    }
    if error.errors:
        document["errors"] = [finding.to_json() for finding in error.errors]
    return encode(document)


def problem_headers(error: HubError) -> dict[str, str]:
    """The headers that go with it."""
    headers = {"content-type": MEDIA_TYPE, "cache-control": "no-store"}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status in _RETRY:
        headers["retry-after"] = "1"
    headers.update((name.lower(), value) for name, value in error.headers.items() if value)
    return {name: value.replace("\r", " ").replace("\n", " ") for name, value in headers.items()}


async def send_problem(send: Send, error: HubError) -> None:
    """Answer an ASGI request with the problem document."""
    body = problem_body(error)
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in problem_headers(error).items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
