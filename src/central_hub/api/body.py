"""Request bodies: measured before they are read, read before they are parsed, parsed strictly."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from central_hub.errors import LimitExceeded, MalformedBody, RequestTimeout, TooLarge, UnsupportedMediaType
from central_hub_client import strict_json

MAX_BODY_BYTES: Final = 1024 * 1024
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
SCHEMA_JSON: Final = "application/schema+json"


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it came, what it says, and the media type that says how to take it."""

    raw: bytes
    value: Any
    media_type: str


def strict_body(*media_types: str, bounded_integers: bool = True) -> Callable[[Request], Awaitable[Body]]:
    """A dependency: the parsed body. Raises TooLarge, UnsupportedMediaType, MalformedBody, LimitExceeded."""

    async def read(request: Request) -> Body:
        media_type = _media_type(request, media_types)
        raw = await _read(request)
        try:
            return Body(raw, strict_json.parse(raw, bounded_integers=bounded_integers), media_type)
        except strict_json.MalformedJson as error:
            raise MalformedBody(str(error)) from error
        except strict_json.LimitExceeded as error:
            raise LimitExceeded(f"the document has {error}") from error

    return read


def _media_type(request: Request, media_types: tuple[str, ...]) -> str:
    if _announced_length(request) > MAX_BODY_BYTES:
        raise _too_large()
    # A compressed body could become any size: none is taken.
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding is not supported: send the body as it is")
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.strip().lower().replace('"', "")
    if media_type not in media_types or charset not in ("", "charset=utf-8"):
        raise UnsupportedMediaType(f"Content-Type must be {' or '.join(media_types)}, in UTF-8")
    return media_type


def _announced_length(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else MAX_BODY_BYTES + 1


async def _read(request: Request) -> bytes:
    # A chunked body announces no length: it is counted as it comes, and left as soon as it is too much.
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            chunks.append(chunk)
    except ClientDisconnect as error:
        # Nobody hears this answer. What matters is that nothing is done for a caller who has given up on it.
        raise RequestTimeout("the caller has gone before its request was taken") from error
    return b"".join(chunks)


def _too_large() -> TooLarge:
    return TooLarge(f"a body may have {MAX_BODY_BYTES} bytes at most")
