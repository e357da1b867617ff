"""What is stored of documents and schemas: their rows, their changes and the entries of their log, as values."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from central_hub.errors import Finding
from central_hub_client.wire import Position

Key = tuple["Kind", str, str]
"""What a document or schema is found by: its kind, its service, its environment."""


class Kind(StrEnum):
    """What bears the name of a service and an environment."""

    DOCUMENT = "document"
    SCHEMA = "schema"


class Action(StrEnum):
    """What a commit did to a document, or that it changed a schema."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    ROLLBACK = "rollback"
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it stands. `config` is None for a tombstone: deleted, its history kept.

    Of a schema, `config` is the schema, and `version` the hash of its content.
    """

    service: str
    environment: str
    config: dict[str, Any] | None
    version: str
    revision: int
    previous_revision: int | None
    changed_at: datetime
    changed_by: str

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.environment


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends: the last commit's position, and the hash that the next audit row links to."""

    hub_id: str
    epoch: int
    revision: int
    audit_head: str
    tokens_version: int

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.revision)


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One document's or schema's part of a commit, before it has a revision. `config` None deletes."""

    service: str
    environment: str
    config: dict[str, Any] | None
    action: Action
    version: str
    changes: list[dict[str, Any]]
    previous_revision: int | None
    reason: str | None = None
    warnings: tuple[Finding, ...] = ()
    """Not stored: for whoever makes the change."""

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.environment

    @property
    def kind(self) -> Kind:
        return Kind.SCHEMA if self.action is Action.SCHEMA else Kind.DOCUMENT


@dataclass(frozen=True, slots=True)
class Draft:
    """A commit before it has a revision. One salt for each change: 16 random bytes."""

    changes: tuple[DocumentChange, ...]
    salts: tuple[bytes, ...]
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What one revision changed, as the log tells it."""

    epoch: int
    revision: int
    audit_head: str
    documents: tuple[Document, ...]
    schemas: tuple[Document, ...] = ()

    def find(self, kind: Kind, service: str, environment: str) -> Document | None:
        """What it made of a document or schema; None where it did not touch it."""
        changed = self.documents if kind is Kind.DOCUMENT else self.schemas
        return next((document for document in changed if document.key == (service, environment)), None)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a writer must know of the document that there is."""

    revision: int
    managed_by: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A live document or schema in a list of all. `config` is None where the content was not asked for."""

    kind: Kind
    service: str
    environment: str
    version: str
    revision: int
    changed_at: datetime
    changed_by: str
    managed_by: str | None
    config: dict[str, Any] | None

    @property
    def key(self) -> Key:
        return self.kind, self.service, self.environment


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of a document's history. `config` and `changes` are None where the content was redacted."""

    epoch: int
    revision: int
    service: str
    environment: str
    action: str
    version: str
    changed_at: datetime
    changed_by: str
    reason: str | None
    config: dict[str, Any] | None
    changes: list[dict[str, Any]] | None
    redacted: bool


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """What a commit did to a document, without its content. `places` are the JSON Pointers of its changes, None where
    they were redacted."""

    epoch: int
    revision: int
    changed_at: datetime
    changed_by: str
    reason: str | None
    places: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which entries of the whole log are wanted; what is None is not looked at. `text` is looked for in reasons."""

    changed_by: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def to_text(value: Any) -> str:
    """JSON as it is stored: the order of keys and the spelling of numbers kept."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_text(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def document_of(row: Any) -> Document:
    """A row of documents or schemas, or one of the log with the same columns."""
    return Document(
        service=row.service,
        environment=row.environment,
        config=from_text(row.content),
        version=row.version,
        revision=row.revision,
        previous_revision=row.previous_revision,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )
