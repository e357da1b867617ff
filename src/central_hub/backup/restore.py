"""Put a backup into an empty database: verified before anything is written, and then all of it or nothing."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.audit.chain import Anchor
from central_hub.backup.archive import Archive, Manifest, Row, WrongBackup
from central_hub.backup.verification import BackupVerifier
from central_hub.connections.database import Database
from central_hub.storage import backup, schema
from central_hub.storage.backup import RowsRefused
from central_hub_client.wire import Position

_BATCH_CHARACTERS: Final = 1_000_000


class NotEmpty(Exception):
    """The database holds something, and nothing is ever overwritten. The message is for people."""


class FlawedBackup(WrongBackup):
    """The file is as it was written, but what it tells does not hold together. `flaws` are sentences."""

    def __init__(self, flaws: list[str]) -> None:
        super().__init__(f"the backup does not verify: {len(flaws)} flaws")
        self.flaws = flaws


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup that was read to its end, and found whole and true to itself."""

    archive: Archive
    manifest: Manifest
    entries: int
    documents: int


def verify(archive: Archive, anchors: Iterable[Anchor] = ()) -> Verified:
    """Read a backup and walk its audit chain. Raises WrongBackup, FlawedBackup, OSError."""
    manifest = archive.manifest()
    if not schema.knows(manifest.schema_version):
        raise WrongBackup(
            f"{archive.path} was written by Central Hub {manifest.program_version} with schema version"
            f" {manifest.schema_version}, which this version does not know: restore it with that version or a later one"
        )
    verifier = BackupVerifier(manifest, anchors)
    for rows in archive.rows():
        verifier.take(rows)
    if flaws := verifier.finish():
        raise FlawedBackup(flaws)
    return Verified(archive, manifest, verifier.entries, verifier.documents)


async def restore(owner: Database, verified: Verified, *, running_role: str, above_epoch: int = 0) -> Position:
    """Load everything in one transaction, and begin a new epoch; returns where the log goes on.

    The new epoch is above that of the backup and above `above_epoch`. Raises NotEmpty, WrongBackup (also where the file
    is not what was verified), StoreUnavailable, OSError; then the database is as it was.
    """
    manifest = verified.manifest
    epoch = max(manifest.epoch, above_epoch) + 1

    async def load(connection: AsyncConnection) -> None:
        await schema.lock(connection)
        if there := await backup.what_is_there(connection):
            raise NotEmpty(
                f"the database is not empty: {there}. A backup is restored into a new database, or with a new data"
                " directory, so that nothing is overwritten"
            )
        await schema.migrate(connection, to=manifest.schema_version)
        await backup.clear_state(connection)
        loader = _Loader(connection, await backup.columns(connection), epoch)
        for rows in verified.archive.rows():
            await loader.take(rows)
        await loader.flush()
        await schema.upgrade(connection, running_role=running_role)

    try:
        await owner.transaction(load)
    except RowsRefused as error:
        raise WrongBackup(f"{verified.archive.path} was altered: {error}") from error
    return Position(epoch, manifest.revision)


class _Loader:
    """Collects rows and inserts them many at a time, in the order of the file."""

    def __init__(self, connection: AsyncConnection, columns: dict[str, frozenset[str]], epoch: int) -> None:
        self._connection = connection
        self._columns = columns
        self._epoch = epoch
        self._waiting: dict[str, list[str]] = {}
        self._characters = 0

    async def take(self, rows: dict[str, Row]) -> None:
        for table, row in rows.items():
            if self._columns.get(table) != row.keys():
                raise RowsRefused(f"there is no table {table} with the columns of its rows")
            text = json.dumps(self._as_it_goes_on(row) if table == "hub_state" else row, ensure_ascii=False)
            self._waiting.setdefault(table, []).append(text)
            self._characters += len(text)
        if self._characters > _BATCH_CHARACTERS:
            await self.flush()

    async def flush(self) -> None:
        # In the order in which they first came: an audit row before its content, which refers to it.
        for table, texts in self._waiting.items():
            await backup.load(self._connection, table, f"[{','.join(texts)}]")
        self._waiting.clear()
        self._characters = 0

    def _as_it_goes_on(self, state: Row) -> Row:
        # The server is recorded at the next start; it must not look like a failover of the one that was backed up.
        return {**state, "epoch": self._epoch, "system_identifier": None, "timeline": None}
