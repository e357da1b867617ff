"""Which signing keys are believed, and whether a message bears the signature of one of them. No I/O.

Signatures are Ed25519 (RFC 8032) over the exact bytes of the payload. `cryptography` (the extra `signed`) is loaded
with the first signature that is checked.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from central_hub_client.wire import HUB_SIGNATURE

KEY_BYTES = 32
SIGNATURE_BYTES = 64
# One key per live replica: more than this is no hub, and each costs a tenth of a millisecond per forged message.
MAX_KEYS = 32


def parse_public_keys(text: str) -> tuple[bytes, ...]:
    """The keys of CENTRAL_HUB_TRUSTED_KEYS: base64, separated by commas. Raises ValueError."""
    return tuple(_public_key(part.strip()) for part in text.split(",") if part.strip())


def read_key_list(answer: Any) -> tuple[bytes, ...]:
    """The Ed25519 keys in the answer to `GET /keys`. Unknown algorithms are skipped. Raises ValueError."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("keys"), list):
        raise ValueError("a list of keys must be an object with `keys`")
    entries = [entry for entry in answer["keys"] if isinstance(entry, Mapping) and entry.get("algorithm") == "ed25519"]
    return tuple(_public_key(entry.get("public_key")) for entry in entries[:MAX_KEYS])


def is_signed(payload: bytes, headers: Mapping[str, str] | None, keys: Iterable[bytes]) -> bool:
    """Whether `payload` bears a valid signature of one of `keys`.

    Every key is tried, whatever `Hub-Key-Id` says: pinned keys come without an id, and an id proves nothing.
    """
    signature = _decoded((headers or {}).get(HUB_SIGNATURE, ""), SIGNATURE_BYTES)
    if signature is None:
        return False
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, payload)
        except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no point on the curve
            continue
        return True
    return False


def _public_key(text: Any) -> bytes:
    key = _decoded(text, KEY_BYTES) if isinstance(text, str) else None
    if key is None:
        raise ValueError("a public key is 32 bytes in base64")
    return key


def _decoded(text: str, length: int) -> bytes | None:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return None
    return value if len(value) == length else None
