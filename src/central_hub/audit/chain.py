"""The hash chain over the audit log. Pure, and all that is needed to verify an exported log offline.

An entry's hash covers its facts, the hash of the entry before it, and a *salted hash* of the content. The content lies
beside the entry: it can be redacted, with its salt, and the chain still verifies.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from central_hub_client.strict_json import canonical
from central_hub_client.wire import Position

GENESIS: Final = "sha256:" + "0" * 64
"""What the first entry names as the hash before it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One audit row: one changed document in one commit."""

    epoch: int
    revision: int
    ordinal: int
    service: str
    environment: str
    action: str
    version: str
    changed_at: datetime
    changed_by: str
    reason: str | None
    content_hash: str
    previous_hash: str

    @property
    def hash(self) -> str:
        return "sha256:" + hashlib.sha256(canonical(self.facts())).hexdigest()

    def facts(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "revision": self.revision,
            "ordinal": self.ordinal,
            "service": self.service,
            "environment": self.environment,
            "action": self.action,
            "version": self.version,
            "changed_at": rfc3339(self.changed_at),
            "changed_by": self.changed_by,
            "reason": self.reason,
            "content_hash": self.content_hash,
            "previous_hash": self.previous_hash,
        }


@dataclass(frozen=True, slots=True)
class Record:
    """An entry as it is stored: with the hash recorded for it, and its content unless that was redacted."""

    entry: Entry
    entry_hash: str
    salt: bytes | None
    content: str | None
    redacted: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """What somebody outside wrote down earlier: at this position the head of the chain was this hash."""

    position: Position
    hash: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with the chain, and where."""

    revision: int
    sentence: str


def salted_hash(salt: bytes, content: str) -> str:
    """The hash that stands for a content in the chain."""
    return "sha256:" + hashlib.sha256(salt + content.encode()).hexdigest()


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds: `2026-11-23T14:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Verifier:
    """Walks the chain once, record by record in order, and collects what is wrong with it."""

    def __init__(self, anchors: Iterable[Anchor] = ()) -> None:
        self.flaws: list[Flaw] = []
        self.entries = 0
        self.redacted = 0
        self.head = GENESIS
        self.position = Position(0, 0)
        self._ordinal = 0
        self._anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.position.revision, []).append(anchor)

    def take(self, record: Record) -> None:
        entry = record.entry
        expected = (
            {(self.position.revision, self._ordinal + 1), (self.position.revision + 1, 0)} if self.entries else {(1, 0)}
        )
        if (entry.revision, entry.ordinal) not in expected:
            self._flaw(
                entry.revision, f"follows revision {self.position.revision}: entries are missing or out of order"
            )
        if self.entries and entry.epoch < self.position.epoch:
            self._flaw(entry.revision, f"goes back from epoch {self.position.epoch} to {entry.epoch}")
        if entry.revision != self.position.revision:
            self._check_anchor()
        if entry.previous_hash != self.head:
            self._flaw(
                entry.revision, "does not link to the entry before it: something was removed, inserted or edited"
            )
        if entry.hash != record.entry_hash:
            self._flaw(entry.revision, "was edited: its facts do not give its recorded hash")
        self._check_content(record)
        self.head = record.entry_hash
        self.position = Position(entry.epoch, entry.revision)
        self._ordinal = entry.ordinal
        self.entries += 1

    def finish(self, *, recorded_head: str, recorded: Position) -> None:
        """Hold the end of the walk against what the hub records as its head, and against anchors not reached."""
        self._check_anchor()
        if recorded_head != self.head or recorded.revision != self.position.revision:
            self._flaw(
                recorded.revision,
                f"is what the hub records as its head, but the log ends at {self.position.revision}: it was cut off or "
                "rewritten",
            )
        for revision in self._anchors:
            self._flaw(revision, "is anchored, but the log does not reach it: it was cut off")

    def _check_content(self, record: Record) -> None:
        if record.content is None or record.salt is None:
            self.redacted += 1
            if not record.redacted:
                self._flaw(record.entry.revision, "has lost its content, and no redaction is recorded")
        elif salted_hash(record.salt, record.content) != record.entry.content_hash:
            self._flaw(record.entry.revision, "has another content than the one that was recorded")

    def _check_anchor(self) -> None:
        # The hash covers the epoch of the entry. That of the anchor may be a later one: a new epoch begins without one.
        if any(anchor.hash != self.head for anchor in self._anchors.pop(self.position.revision, ())):
            self._flaw(self.position.revision, "does not have the hash of the anchor: the log was rewritten up to here")

    def _flaw(self, revision: int, sentence: str) -> None:
        self.flaws.append(Flaw(revision, sentence))
