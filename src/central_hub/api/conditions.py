"""Conditional requests (RFC 9110, section 13): entity tags and the headers that carry them. Pure."""

import re
from typing import Final

from central_hub.errors import InvalidRequest

_TAG: Final = re.compile(r'\s*(?:(\*)|(W/)?"([^"\x00-\x20\x7f]*)")\s*(?:,|\Z)')


def parse_tags(header: str) -> tuple[str, ...]:
    """The entity tags of a header, weak ones with their `W/`. Raises InvalidRequest."""
    tags: list[str] = []
    at = 0
    while at < len(header):
        match = _TAG.match(header, at)
        if match is None:
            raise InvalidRequest('an entity tag is written in double quotes: If-Match: "1.42.0123456789abcdef"')
        tags.append("*" if match[1] else f'{match[2] or ""}"{match[3]}"')
        at = match.end()
    if not tags:
        raise InvalidRequest("the list of entity tags is empty")
    return tuple(tags)


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the caller has this representation already (weak comparison); a header that cannot be read is ignored."""
    if if_none_match is None:
        return False
    if if_none_match == etag:
        return True
    try:
        tags = parse_tags(if_none_match)
    except InvalidRequest:
        return False
    return "*" in tags or etag in (tag.removeprefix("W/") for tag in tags)
