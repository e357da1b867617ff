"""Tokens: 256 random bits that are only kept as a hash, and what each of them may do. Pure."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from central_hub_client.wire import GLOBAL

PREFIX: Final = "chub_"
"""Makes a token recognisable to whoever finds one where it should not be."""


class Verb(StrEnum):
    """What a token may do. The verbs do not imply each other, except that `admin` may all."""

    READ = "read"
    WRITE = "write"
    REGISTER = "register"
    FORCE = "force"
    APPROVE = "approve"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """A token as the hub knows it: who it is, and what it may do where."""

    token_id: str
    name: str
    verbs: frozenset[Verb]
    services: tuple[str, ...]
    environments: tuple[str, ...]
    expires_at: datetime | None = None

    def may(self, verb: Verb) -> bool:
        """Whether the token has the verb at all, wherever."""
        return verb in self.verbs or Verb.ADMIN in self.verbs

    def covers(self, service: str, environment: str) -> bool:
        """Whether the document lies in the token's scope. `*` does not match `_global`: that is written out."""
        return self.covers_service(service) and _matches(self.environments, environment)

    @property
    def covers_everything(self) -> bool:
        """Whether it is for every service in every environment: who acts on the whole fleet needs that."""
        return "*" in self.services and "*" in self.environments

    def covers_service(self, service: str) -> bool:
        """Whether something of the service may lie in the token's scope, in whatever environment."""
        return _matches(self.services, service)


class Grants:
    """The valid tokens by their hash. Replaced whole when tokens change."""

    def __init__(self, grants: Iterable[tuple[bytes, Grant]] = ()) -> None:
        self._by_hash = dict(grants)
        self._ids = frozenset(grant.token_id for grant in self._by_hash.values())

    def find(self, token: str, now: datetime) -> Grant | None:
        """The grant of a presented token, unless it is unknown, revoked or expired.

        Looking up a SHA-256 tells a caller nothing about stored tokens by its timing: who cannot choose the hash of
        what he sends cannot walk the table.
        """
        return self.find_hash(sha256(token), now)

    def find_hash(self, digest: bytes, now: datetime) -> Grant | None:
        grant = self._by_hash.get(digest)
        if grant is None or (grant.expires_at is not None and grant.expires_at <= now):
            return None
        return grant

    def still_valid(self, grant: Grant, now: datetime) -> bool:
        """Whether a grant given out earlier still stands: not revoked, not expired. Grants never change."""
        return grant.token_id in self._ids and (grant.expires_at is None or grant.expires_at > now)


def generate() -> str:
    """A new token."""
    return PREFIX + secrets.token_urlsafe(32)


def sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    if name == GLOBAL:
        return GLOBAL in patterns
    return any(pattern == "*" or pattern == name or _compiled(pattern).fullmatch(name) for pattern in patterns)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", pattern)))
