"""Take a backup of a hub while it runs: one moment of its database, and no later one."""

from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from central_hub.backup.archive import ArchiveWriter, Manifest, Progress
from central_hub.connections.database import Database
from central_hub.errors import StartupRefused
from central_hub.storage import backup, configs, schema
from central_hub.storage.tables import SCHEMA_VERSION

_ENDING: Final = ".central-hub.gz"


async def take(database: Database, place: Path, *, at: datetime, on_progress: Progress) -> Path:
    """Write a backup to a new file, or to one named after what it holds in an existing directory; returns which.

    All that is read is of one moment, so the file holds a prefix of the history, however much is written meanwhile.
    Raises StoreUnavailable, StartupRefused, NotWritten; then there is no file.
    """
    async with database.reading() as connection:
        found = await schema.version(connection)
        if found != SCHEMA_VERSION:
            state = "is empty" if found is None else f"is at schema version {found}"
            raise StartupRefused(f"the database {state}, and this program reads version {SCHEMA_VERSION}")
        head = await configs.head(connection)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            program_version=version("central-hub"),
            taken_at=at.isoformat(timespec="seconds"),
            hub_id=head.hub_id,
            epoch=head.epoch,
            revision=head.revision,
            audit_head=head.audit_head,
        )
        path = _path(place, f"{at:%Y%m%dT%H%M%SZ}-{head.position}{_ENDING}")
        expected = max(1, await backup.size(connection))
        with ArchiveWriter(path.parent) as archive:
            archive.begin(manifest)
            async for rows in backup.rows(connection):
                archive.add(rows)
                on_progress(min(1.0, archive.lines / expected))
            archive.end(path)
    return path


def _path(place: Path, name: str) -> Path:
    return place / name if place.is_dir() else place
