"""Contents removed from the history of one document, and what else still says what they said."""

import getpass
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.cli.key_paths import WrongKey, find, parse_key
from central_hub.cli.session import ExitCode, Failed
from central_hub.config import diff
from central_hub.connections.database import Database
from central_hub.storage import audit_records, config_log, configs, schema
from central_hub.storage.config_values import Kind, LogEntry
from central_hub_client import layers

_PAGE_ENTRIES: Final = 200
_PAGE_BYTES: Final = 16 * 1024 * 1024

Config = dict[str, Any]


class Redaction:
    """The removal of what one document contained at some revisions. Every method raises StoreUnavailable."""

    def __init__(self, owner_url: str, service: str, environment: str, revisions: list[int]) -> None:
        self.service = service
        self.environment = environment
        self.revisions = revisions
        self._database = Database(owner_url, pool_size=1)

    async def prepare(self) -> dict[int, list[str]]:
        """Check that it can be done, and say which other revisions hold values that are gone from the document since.

        Raises Failed.
        """
        async with self._database.reading() as connection:
            await check_owner(connection, self._database.role)
            current = await configs.get(connection, self.service, self.environment)
            its_schema = await configs.get(connection, self.service, self.environment, Kind.SCHEMA)
            entries = await self._history(connection)
        gone = [entry for entry in entries if entry.revision in self.revisions]
        config = None if current is None else current.config
        if missing := set(self.revisions) - {entry.revision for entry in gone}:
            numbers = ", ".join(map(str, sorted(missing)))
            raise Failed(f"revision {numbers} did not change {self.service} in environment {self.environment}")
        for entry in gone:
            if its_schema is not None and its_schema.revision == entry.revision:
                raise Failed(
                    f"revision {entry.revision} is the schema that {self.service} has now: change it first, then redact"
                )
            if config is not None and entry.config is not None and diff.same(entry.config, config):
                raise Failed(
                    f"what {self.service} contained at revision {entry.revision} is what it contains now: change the"
                    " document first, then redact"
                )
        kept = [entry for entry in entries if entry.revision not in self.revisions]
        return still_held([entry.config for entry in gone if entry.config is not None], config, kept)

    async def carry_out(self, reason: str) -> None:
        """Remove the contents, all of them or none."""
        at, by = datetime.now(UTC), whoever_runs_this(self._database.role)

        async def redact_all(connection: AsyncConnection) -> None:
            for revision in self.revisions:
                await audit_records.redact(
                    connection, self.service, self.environment, revision, by=by, at=at, reason=reason
                )

        await self._database.transaction(redact_all)

    async def close(self) -> None:
        await self._database.close()

    async def _history(self, connection: AsyncConnection) -> list[LogEntry]:
        entries: list[LogEntry] = []
        more = True
        while more:
            before = entries[-1].revision if entries else None
            page, more = await config_log.history(
                connection, self.service, self.environment, before=before, limit=_PAGE_ENTRIES, max_bytes=_PAGE_BYTES
            )
            entries += page
        return entries


def still_held(gone: Iterable[Config], current: Config | None, kept: Iterable[LogEntry]) -> dict[int, list[str]]:
    """For other revisions the places at which they hold what `gone` held and `current` no longer does. Pure."""
    suspects = [
        (pointer, value) for config in gone for pointer, value in _leaves(config) if not _holds(current, pointer, value)
    ]
    found: dict[int, list[str]] = {}
    for entry in kept:
        pointers = sorted({pointer for pointer, value in suspects if _holds(entry.config, pointer, value)})
        if pointers:
            found[entry.revision] = pointers
    return dict(sorted(found.items()))


def _leaves(config: Config) -> list[tuple[str, Any]]:
    return [(pointer, find(config, parse_key(pointer))) for pointer in layers.origins([config])]


def _holds(config: Config | None, pointer: str, value: Any) -> bool:
    try:
        return diff.same(find(config, parse_key(pointer)), value)
    except WrongKey:
        return False


async def check_owner(connection: AsyncConnection, role: str) -> None:
    """Raise Failed for a role that may not change what the log holds."""
    if not await schema.can_alter_audit(connection):
        raise Failed(
            f"{role} may not change the audit log: set CENTRAL_HUB_MIGRATION_DATABASE_URL to the owner of the tables",
            code=ExitCode.USAGE,
        )


def whoever_runs_this(role: str) -> str:
    """Who is named for what the owner of the tables does."""
    try:
        return f"{getpass.getuser()}, as {role}"
    except (OSError, KeyError):  # a process whose user has no name
        return role
