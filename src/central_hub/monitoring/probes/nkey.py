"""Signs a server's nonce with the seed of an nkey, as NATS wants it. Pure.

A seed is base32 of two bytes of prefix, an Ed25519 key and a CRC-16: https://github.com/nats-io/nkeys
"""

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central_hub.monitoring.probes.connection import Unusable


def sign(seed: str, nonce: bytes) -> tuple[str, str]:
    """The public key and the signature, as they stand in CONNECT. Raises Unusable for what is no seed."""
    try:
        raw = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
        key = Ed25519PrivateKey.from_private_bytes(raw[2:34])
    except ValueError:
        raise Unusable("its nkey is no seed") from None
    kind = (raw[0] & 7) << 5 | raw[1] >> 3
    public = bytes([kind]) + key.public_key().public_bytes_raw()
    checked = public + binascii.crc_hqx(public, 0).to_bytes(2, "little")
    return base64.b32encode(checked).decode().rstrip("="), base64.urlsafe_b64encode(key.sign(nonce)).decode().rstrip(
        "="
    )
