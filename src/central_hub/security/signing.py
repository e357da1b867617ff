"""The Ed25519 key of a replica: what it signs, receivers can trace to a hub that they trust."""

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from central_hub.errors import StartupRefused
from central_hub.security.files import write_private
from central_hub_client.wire import HUB_KEY_ID, HUB_SIGNATURE


class SigningKey:
    """A replica's private key. `id` names it in `Hub-Key-Id`."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes_raw()
        self.id = key_id(self.public_key)

    @classmethod
    def load_or_create(cls, path: Path) -> "SigningKey":
        """The key kept in `path` (PEM, 0600), made at the first call, with its public part beside it."""
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write_private(path, pem)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError) as error:
            raise StartupRefused(f"{path} does not hold a private key in PEM form") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise StartupRefused(f"{path} holds another kind of key; an Ed25519 key is needed")
        signing = cls(key)
        public = path.with_suffix(".pub")
        text = base64.b64encode(signing.public_key) + b"\n"
        if os.access(path.parent, os.W_OK) and (not public.exists() or public.read_bytes() != text):
            write_private(public, text)
        return signing

    def sign(self, payload: bytes) -> str:
        """The signature over exactly these bytes, base64."""
        return base64.b64encode(self._key.sign(payload)).decode()


@dataclass(frozen=True, slots=True)
class Signer:
    """How announcements are signed, and how those of other replicas are recognised."""

    key_id: str
    sign: Callable[[bytes], str]
    is_signed_by_a_replica: Callable[[bytes, str, str], bool]

    def headers(self, payload: bytes) -> dict[str, str]:
        """What a message with exactly this payload carries for those who trust the key."""
        return {HUB_KEY_ID: self.key_id, HUB_SIGNATURE: self.sign(payload)}


def key_id(public_key: bytes) -> str:
    """The name of a key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def is_signed(payload: bytes, signature: str, public_key: bytes) -> bool:
    """Whether the owner of the key signed exactly these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(base64.b64decode(signature, validate=True), payload)
    except (InvalidSignature, ValueError):
        return False
    return True
