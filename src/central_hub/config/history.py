"""The past of documents, read from the audit log: pages, differences, and configs as they were."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.config import diff
from central_hub.config.layering import layer_keys
from central_hub.config.snapshot import Representation, own_representation, represent
from central_hub.connections.database import Database
from central_hub.errors import EpochChanged, HistoryGone, InvalidRequest, NotFound
from central_hub.storage import configs
from central_hub.storage.configs import Action, Document, Head, Kind, LogEntry
from central_hub_client.wire import Position

PAGE_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed in a document between two positions; `old` is None where it did not exist before."""

    old: Position | None
    new: Position
    changes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PastConfig:
    """A config as it was, and the documents that made it up, lowest layer first."""

    representation: Representation
    layers: list[Document]


class ConfigHistory:
    """Reads the past of documents. Every method raises StoreUnavailable, and NotFound for what never was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, service: str, environment: str, *, before: str | None, limit: int
    ) -> tuple[list[LogEntry], int | None]:
        """A page of the history of a document and its schema, newest first, and the `before` of the next one."""
        async with self._database.reading() as connection:
            kinds = (Kind.DOCUMENT, Kind.SCHEMA)
            if not any([await configs.get(connection, service, environment, kind) for kind in kinds]):
                raise no_document(service, environment)
            revision = None if before is None else await _revision(connection, await configs.head(connection), before)
            entries, more = await configs.history(
                connection, service, environment, before=revision, limit=limit, max_bytes=PAGE_BYTES
            )
        return entries, entries[-1].revision if more else None

    async def compare(self, service: str, environment: str, *, old: str | None, new: str | None) -> Comparison:
        """The changes from `old` to `new` (positions); by default from the previous revision to the current one."""
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            target = head.revision if new is None else await _revision(connection, head, new)
            after = await configs.as_of(connection, service, environment, target)
            if after is None:
                if new is not None and await configs.get(connection, service, environment) is not None:
                    raise _not_yet(new)
                raise no_document(service, environment)
            source = after.revision - 1 if old is None else await _revision(connection, head, old)
            before = await configs.as_of(connection, service, environment, source)
        return Comparison(
            None if before is None else Position(before.epoch, before.revision),
            Position(after.epoch, after.revision),
            diff.changes({} if before is None else _content(before) or {}, _content(after) or {}),
        )

    async def altered_by(self, service: str, environment: str, revision: int) -> list[str]:
        """The places (JSON Pointers) that a revision altered in any layer of a config; of a redacted one the root."""
        async with self._database.reading() as connection:
            entries = [await configs.as_of(connection, *key, revision) for key in layer_keys(service, environment)]
        altered = [entry for entry in entries if entry is not None and entry.revision == revision]
        return [
            place
            for entry in altered
            for place in ([""] if entry.changes is None else [change["path"] for change in entry.changes])
        ]

    async def content_at(self, service: str, environment: str, at: str) -> dict[str, Any]:
        """What a document contained at a position."""
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            if await configs.get(connection, service, environment) is None:
                raise no_document(service, environment)
            entry = await configs.as_of(connection, service, environment, await _revision(connection, head, at))
        content = None if entry is None else _content(entry)
        if content is None:
            raise _not_yet(at)
        return content

    async def config_at(self, service: str, environment: str, at: str, *, own: bool) -> PastConfig:
        """A config as it was at a position or a time: effective, or the document by itself."""
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            moment = _moment(at)
            revision = (
                await _revision(connection, head, at)
                if moment is None
                else await configs.revision_at(connection, moment)
            )
            keys = [(service, environment)] if own else layer_keys(service, environment)
            entries = [await configs.as_of(connection, *key, revision) for key in keys]
            layers = [await _document(connection, entry) for entry in entries if entry is not None]
        documents = {layer.key: layer for layer in layers}
        if own:
            representation = own_representation(layers[0], head.hub_id, head.epoch) if layers else None
        else:
            representation = represent(documents, head.hub_id, head.epoch, service, environment)
        if representation is None or representation.object.deleted:
            raise NotFound(f"{service} had no configuration in environment {environment} at {at}")
        return PastConfig(representation, layers)


def no_document(service: str, environment: str) -> NotFound:
    """The error for a document that there never was."""
    return NotFound(f"there is no document of {service} in environment {environment}")


def _not_yet(at: str) -> NotFound:
    return NotFound(f"the document did not exist at revision {at}")


async def _document(connection: AsyncConnection, entry: LogEntry) -> Document:
    before = await configs.as_of(connection, entry.service, entry.environment, entry.revision - 1)
    return Document(
        service=entry.service,
        environment=entry.environment,
        config=_content(entry),
        version=entry.version,
        revision=entry.revision,
        previous_revision=None if before is None else before.revision,
        changed_at=entry.changed_at,
        changed_by=entry.changed_by,
    )


async def _revision(connection: AsyncConnection, head: Head, text: str) -> int:
    """The revision that a caller names. Raises InvalidRequest, EpochChanged, NotFound."""
    try:
        position = Position.parse(text, current_epoch=head.epoch)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    if position.epoch > head.epoch or position.revision > head.revision:
        raise NotFound(f"there is no revision {text} yet: the last one is {head.position}")
    # A revision that a later epoch took again is another commit: the one meant was lost.
    if position.epoch != head.epoch and await configs.epoch_of(connection, position.revision) != position.epoch:
        raise EpochChanged(f"revision {text} was lost when epoch {head.epoch} began")
    return position.revision


def _moment(text: str) -> datetime | None:
    """The time that a caller names; None where he names a revision. Raises InvalidRequest."""
    if "-" not in text and ":" not in text:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        moment = moment if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("a time is written as in RFC 3339: 2026-11-23T14:00:00Z") from error
    if moment.tzinfo is None:
        raise InvalidRequest("a time needs its offset: 2026-11-23T14:00:00Z")
    return moment


def _content(entry: LogEntry) -> dict[str, Any] | None:
    """What the document contained; None where it was deleted. Raises HistoryGone where it was redacted."""
    if entry.redacted:
        raise HistoryGone(f"the content of revision {entry.revision} was redacted")
    return None if entry.action == Action.DELETED else entry.config
