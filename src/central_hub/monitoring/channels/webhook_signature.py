"""The signature of a webhook, as the Standard Webhooks specification has it
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). Pure."""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

BASE64_PREFIX: Final = "whsec_"
"""A secret that begins so is base64 of the key; any other one is the key itself, as UTF-8."""


def signed_headers(message_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> Mapping[str, str]:
    """The three headers, with a signature for each secret: while one is replaced by another, receivers that know
    either find theirs. `timestamp` is in seconds since 1970. Raises ValueError for a secret that is not one."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(secret: str) -> bytes:
    if not secret.startswith(BASE64_PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret.removeprefix(BASE64_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError(f"what follows {BASE64_PREFIX} in the secret is not base64") from None
    if not key:
        raise ValueError("the secret is empty")
    return key
