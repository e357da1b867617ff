"""The past of documents, read from the audit log: pages, differences, and configs as they were."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.config import diff
from central_hub.config.blame import Blame
from central_hub.config.layering import layer_keys
from central_hub.config.snapshot import Representation, own_representation, represent
from central_hub.connections.database import Database
from central_hub.errors import Conflict, EpochChanged, HistoryGone, InvalidRequest, NotFound
from central_hub.storage import config_log, configs
from central_hub.storage.config_values import Action, Document, Head, Key, Kind, LogEntry, LogFilter, LoggedChange
from central_hub_client.wire import Position

PAGE_BYTES: Final = 4 * 1024 * 1024
BATCH: Final = 200
MOST_LOOKED_AT: Final = 5_000
"""Entries of the log that one question may look at."""
KEPT_REVISIONS: Final = 256
KEPT_PLACES: Final = 1_000
"""Of one revision. What altered more is read each time."""


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


@dataclass(frozen=True, slots=True)
class Before:
    """What a document or schema was before the commit that it still is of; `config` is None where there was none."""

    kind: Kind
    service: str
    environment: str
    config: dict[str, Any] | None
    present_revision: str
    """What a writer names as the revision that it has seen."""


class ConfigHistory:
    """Reads the past of documents. Every method raises StoreUnavailable, and NotFound for what never was."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._altered: dict[tuple[str, str, Position], list[str]] = {}

    async def page(
        self, service: str, environment: str, *, before: str | None, limit: int
    ) -> tuple[list[LogEntry], int | None]:
        """A page of the history of a document and its schema, newest first, and the `before` of the next one."""
        async with self._database.reading() as connection:
            kinds = (Kind.DOCUMENT, Kind.SCHEMA)
            if not any([await configs.get(connection, service, environment, kind) for kind in kinds]):
                raise no_document(service, environment)
            revision = None if before is None else await _revision(connection, await configs.head(connection), before)
            entries, more = await config_log.history(
                connection, service, environment, before=revision, limit=limit, max_bytes=PAGE_BYTES
            )
        return entries, entries[-1].revision if more else None

    async def compare(self, service: str, environment: str, *, old: str | None, new: str | None) -> Comparison:
        """The changes from `old` to `new` (positions); by default from the previous revision to the current one."""
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            target = head.revision if new is None else await _revision(connection, head, new)
            after = await config_log.as_of(connection, service, environment, target)
            if after is None:
                if new is not None and await configs.get(connection, service, environment) is not None:
                    raise _not_yet(new)
                raise no_document(service, environment)
            source = after.revision - 1 if old is None else await _revision(connection, head, old)
            before = await config_log.as_of(connection, service, environment, source)
        return Comparison(
            None if before is None else Position(before.epoch, before.revision),
            Position(after.epoch, after.revision),
            diff.changes({} if before is None else _content(before) or {}, _content(after) or {}),
        )

    async def altered_by(self, service: str, environment: str, at: Position) -> list[str]:
        """The places (JSON Pointers) that a revision altered in any layer of a config; of a redacted one the root.

        The latest answers are kept: a fleet is asked about one change again and again.
        """
        key = (service, environment, at)
        known = self._altered.get(key)
        if known is not None:
            return known
        async with self._database.reading() as connection:
            entries = [
                await config_log.as_of(connection, *layer, at.revision) for layer in layer_keys(service, environment)
            ]
        places = [
            place
            for entry in entries
            if entry is not None and entry.revision == at.revision
            for place in ([""] if entry.changes is None else [change["path"] for change in entry.changes])
        ]
        if len(places) <= KEPT_PLACES:
            self._altered[key] = places
            if len(self._altered) > KEPT_REVISIONS:
                del self._altered[next(iter(self._altered))]
        return places

    async def content_at(self, service: str, environment: str, at: str) -> dict[str, Any]:
        """What a document contained at a position."""
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            if await configs.get(connection, service, environment) is None:
                raise no_document(service, environment)
            entry = await config_log.as_of(connection, service, environment, await _revision(connection, head, at))
        content = None if entry is None else _content(entry)
        if content is None:
            raise _not_yet(at)
        return content

    async def changed_by(self, at: str) -> tuple[Position, list[Key]]:
        """The position of a commit, and the documents and schemas that it changed."""
        async with self._database.reading() as connection:
            revision = await _revision(connection, await configs.head(connection), at)
            epoch, changed = (
                await config_log.epoch_of(connection, revision),
                await config_log.changed_in(connection, revision),
            )
        if epoch is None:
            raise NotFound(f"there is no revision {at}")
        return Position(epoch, revision), changed

    async def before(self, position: Position, changed: Sequence[Key]) -> list[Before]:
        """What each was before the commit that changed them. Raises Conflict where one has been changed since."""
        async with self._database.reading() as connection:
            return [await _before(connection, position, *key) for key in changed]

    async def config_at(self, service: str, environment: str, at: str, *, own: bool) -> PastConfig:
        """A config as it was at a position or a time: effective, or the document by itself."""
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            then = _moment(at)
            revision = (
                await _revision(connection, head, at)
                if then is None
                else await config_log.revision_at(connection, then)
            )
            keys = [(service, environment)] if own else layer_keys(service, environment)
            entries = [await config_log.as_of(connection, *key, revision) for key in keys]
            layers = [await _document(connection, entry) for entry in entries if entry is not None]
        documents = {layer.key: layer for layer in layers}
        if own:
            representation = own_representation(layers[0], head.hub_id, head.epoch) if layers else None
        else:
            representation = represent(documents, head.hub_id, head.epoch, service, environment)
        if representation is None or representation.object.deleted:
            raise NotFound(f"{service} had no configuration in environment {environment} at {at}")
        return PastConfig(representation, layers)

    async def set_by(self, provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, LoggedChange]:
        """By JSON Pointer, the change that set each value last; of some there is none. `provenance` says which layer
        each comes from."""
        pointers: dict[tuple[str, int], set[str]] = defaultdict(set)
        for pointer, source in provenance.items():
            pointers[source["layer"], source["revision"]].add(pointer)
        found: dict[str, LoggedChange] = {}
        async with self._database.reading() as connection:
            for (layer, revision), missing in pointers.items():
                service, _, environment = layer.partition("@")
                blame, before = Blame(missing), revision + 1
                for _ in range(MOST_LOOKED_AT // BATCH):
                    entries = await config_log.changes_before(
                        connection, service, environment, before=before, limit=BATCH
                    )
                    for entry in entries:
                        blame.take(entry)
                    if not blame.missing or len(entries) < BATCH:
                        break
                    before = entries[-1].revision
                found |= blame.found
        return found

    async def search(
        self,
        wanted: LogFilter,
        is_wanted: Callable[[LogEntry], bool],
        *,
        before: str | None,
        limit: int,
    ) -> tuple[list[LogEntry], int | None]:
        """Entries of all documents, newest first, and the `before` of the next page; None at the beginning of the log.

        A page holds whole commits, about `limit` entries; it may hold few, or none, where few are wanted.
        """
        found: list[LogEntry] = []
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            revision = None if before is None else await _revision(connection, head, before)
            for _ in range(MOST_LOOKED_AT // BATCH):
                entries = await config_log.log_before(connection, wanted, before=revision, limit=BATCH)
                for entry in entries:
                    if len(found) >= limit and entry.revision != revision:
                        return found, revision
                    revision = entry.revision
                    if is_wanted(entry):
                        found.append(entry)
                if len({entry.revision for entry in entries}) < BATCH:
                    return found, None
        return found, revision


def no_document(service: str, environment: str) -> NotFound:
    """The error for a document that there never was."""
    return NotFound(f"there is no document of {service} in environment {environment}")


def _not_yet(at: str) -> NotFound:
    return NotFound(f"the document did not exist at revision {at}")


async def _document(connection: AsyncConnection, entry: LogEntry) -> Document:
    before = await config_log.as_of(connection, entry.service, entry.environment, entry.revision - 1)
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


async def _before(
    connection: AsyncConnection, position: Position, kind: Kind, service: str, environment: str
) -> Before:
    present = await configs.get(connection, service, environment, kind)
    if present is None or present.revision != position.revision:
        raise Conflict(
            f"the {kind} of {service} in environment {environment} has been changed since revision {position}: take"
            " the later changes back first, or roll that document back by itself",
            extra={"current_revision": 0 if present is None else present.revision},
        )
    entry = await config_log.as_of(connection, service, environment, position.revision - 1, kind)
    return Before(
        kind,
        service,
        environment,
        config=None if entry is None else _content(entry),
        present_revision="0" if present.config is None else str(present.revision),
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
    if position.epoch != head.epoch and await config_log.epoch_of(connection, position.revision) != position.epoch:
        raise EpochChanged(f"revision {text} was lost when epoch {head.epoch} began")
    return position.revision


def _moment(text: str) -> datetime | None:
    """The time that a caller names; None where he names a revision. Raises InvalidRequest."""
    return moment(text) if "-" in text or ":" in text else None


def moment(text: str) -> datetime:
    """A time as RFC 3339 writes it. Raises InvalidRequest."""
    try:
        found = datetime.fromisoformat(text.upper())
        found = found if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("a time is written as in RFC 3339: 2026-11-23T14:00:00Z") from error
    if found.tzinfo is None:
        raise InvalidRequest("a time needs its offset: 2026-11-23T14:00:00Z")
    return found


def _content(entry: LogEntry) -> dict[str, Any] | None:
    """What the document contained; None where it was deleted. Raises HistoryGone where it was removed."""
    if entry.redacted:
        raise HistoryGone(f"the content of revision {entry.revision} was removed from the history")
    return None if entry.action == Action.DELETED else entry.config
