"""Errors as the caller sees them: RFC 9457 problem documents with a stable code.

What is wrong is often told in words of the request: the name of a field, the path of a patch. Whatever of that holds a
credential is left out here, so that nothing repeats one on its way into somebody's log.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.types import Send

from central_hub.api.encoding import encode
from central_hub.config.secrets import repeats_a_credential
from central_hub.errors import Finding, HubError

MEDIA_TYPE: Final = "application/problem+json"
_RETRY: Final = (429, 503)
_LEFT_OUT: Final = "what is wrong cannot be said without repeating a credential that the request contains"


def problem_body(error: HubError) -> bytes:
    """The problem document."""
    document: dict[str, Any] = {
        "type": f"urn:central-hub:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": _LEFT_OUT if repeats_a_credential(error.detail) else error.detail,
        "code": error.code,
        **error.extra,
    }
    if error.errors:
        document["errors"] = [finding.to_json() for finding in _without_credentials(error.errors)]
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


def _without_credentials(findings: Sequence[Finding]) -> Sequence[Finding]:
    if not repeats_a_credential(*(text for finding in findings for text in (finding.pointer, finding.message))):
        return findings
    return [
        replace(
            finding,
            pointer="" if repeats_a_credential(finding.pointer) else finding.pointer,
            message=_LEFT_OUT if repeats_a_credential(finding.message) else finding.message,
        )
        for finding in findings
    ]
