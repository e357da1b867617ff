"""All documents and schemas that there are, page by page, each with who looks after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from central_hub.connections.database import Database
from central_hub.storage import configs
from central_hub.storage.config_values import Head, Key, Kind, Listed

PAGE_ENTRIES: Final = 1_000
PAGE_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """Entries as they were at `head`, and the cursor of the next page; None at the end."""

    head: Head
    entries: list[Listed]
    next: str | None


class ConfigListing:
    """Reads what is stored, not what this replica has applied: an export must not miss what was just written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        *,
        services: Sequence[str] | None,
        environments: Sequence[str] | None,
        after: str | None,
        with_content: bool,
    ) -> Page:
        """The entries after a cursor, the `next` of a page. None stands for all. Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            head = await configs.head(connection)
            entries, more = await configs.listing(
                connection,
                services=services,
                environments=environments,
                after=None if after is None else _key(after),
                limit=PAGE_ENTRIES,
                max_bytes=PAGE_BYTES,
                with_content=with_content,
            )
        return Page(head, entries, "/".join(entries[-1].key) if more else None)


def _key(cursor: str) -> Key:
    kind, service, environment = cursor.split("/")
    return Kind(kind), service, environment
