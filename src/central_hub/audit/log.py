"""The audit log as it is handed out for verification."""

from dataclasses import dataclass
from typing import Final

from central_hub.audit.chain import Record
from central_hub.connections.database import Database
from central_hub.storage import audit_records, configs
from central_hub.storage.config_values import Head

PAGE_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some records in order, where the log ends, and (with the last page) documents that are not what it says."""

    records: list[Record]
    head: Head
    differing: list[tuple[str, str]]
    is_last: bool


class AuditLog:
    """Reads the chain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, *, after: tuple[int, int], limit: int) -> AuditPage:
        """Records after (revision, ordinal). Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            records = await audit_records.audit_records(connection, after=after, limit=limit, max_bytes=PAGE_BYTES)
            # A log that was cut off never comes to its head: then the empty page is the last.
            is_last = not records or records[-1].entry_hash == head.audit_head
            differing = await audit_records.documents_that_differ_from_the_log(connection) if is_last else []
        return AuditPage(records, head, differing, is_last)
