"""Anchors in a file: what was known of the head of the log at some time, one JSON object a line. Pure.

A line is a bookmark, as the event stream and `config.bookmark` on NATS tell it: `hub_id`, `epoch`, `revision`,
`audit_head`. One that a hub's key has signed carries `public_key` and `signature` as well, both base64; signed is the
canonical JSON of the bookmark.
"""

import base64
import binascii
import json
from collections.abc import Collection
from typing import Any

from central_hub.audit.chain import Anchor
from central_hub.security.signing import SigningKey, is_signed
from central_hub_client.strict_json import canonical
from central_hub_client.wire import Bookmark


class WrongAnchor(ValueError):
    """A line is no anchor, or was not signed by whom it should be. The message is for people."""


def signed(bookmark: Bookmark, key: SigningKey) -> str:
    """The line that says what the head is, and whose word that is."""
    facts = bookmark.to_json()
    public_key = base64.b64encode(key.public_key).decode()
    return json.dumps({**facts, "public_key": public_key, "signature": key.sign(canonical(facts))})


def parse(text: str, *, signed_by: Collection[bytes] | None = None) -> list[Anchor]:
    """The anchors of a file. Raises WrongAnchor for a line that is none, and for a signature that is not right.

    With `signed_by` every one must be signed, by one of these public keys. Without it a signature proves only that the
    line was not damaged: it names its key itself.
    """
    return [_anchor(line, signed_by) for line in text.splitlines() if line.strip()]


def _anchor(line: str, signed_by: Collection[bytes] | None) -> Anchor:
    try:
        value: dict[str, Any] = json.loads(line)
        bookmark = Bookmark.from_json(value)
    except ValueError as error:
        raise WrongAnchor(f"a line is no anchor: {error}") from error
    named = f"the anchor of revision {bookmark.position}"
    if "signature" in value:
        signer = _signer(bookmark, value)
        if signer is None:
            raise WrongAnchor(f"{named} was not signed by the key that it names")
        if signed_by is not None and signer not in signed_by:
            raise WrongAnchor(f"{named} was signed by another key")
    elif signed_by is not None:
        raise WrongAnchor(f"{named} is not signed")
    return Anchor(bookmark.position, bookmark.audit_head)


def _signer(bookmark: Bookmark, value: dict[str, Any]) -> bytes | None:
    """The key that has signed the bookmark; None where it is not the one that is named."""
    try:
        public_key = base64.b64decode(value["public_key"], validate=True)
        return public_key if is_signed(canonical(bookmark.to_json()), value["signature"], public_key) else None
    except (KeyError, TypeError, binascii.Error):
        return None
