"""What there is in the hub: documents and schemas, as `export`, `apply` and `promote` look at them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from central_hub.cli.document_files import Name
from central_hub.cli.hub_client import HubClient
from central_hub.cli.session import Failed

MOST_SERVICES: Final = 200
"""Of one question."""
_MOST_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """A document or schema that there is. `config` is None where it was not asked for."""

    name: Name
    revision: str
    """What a writer names as the revision that it has seen."""
    managed_by: str | None
    config: dict[str, Any] | None


def inventory(
    hub: HubClient,
    *,
    services: Collection[str] = (),
    environments: Collection[str] = (),
    with_config: bool,
) -> dict[Name, Entry]:
    """All documents and schemas of one moment that the token covers; only of some services, or of some environments.

    Raises Failed where they change faster than they can be read.
    """
    query = {"environment": sorted(environments), "include": "config" if with_config else None}
    chosen = sorted(services)
    chunks = [chosen[start : start + MOST_SERVICES] for start in range(0, len(chosen), MOST_SERVICES)] or [[]]
    for _ in range(_MOST_TRIES):
        pages = [page for chunk in chunks for page in hub.pages("/config/export", **query, service=chunk)]
        # Without contents there is nothing that must fit together.
        if not with_config or len({(page["epoch"], page["revision"]) for page in pages}) == 1:
            return {entry.name: entry for page in pages for entry in _entries(page)}
    raise Failed("the documents change faster than they can be read: try again")


def _entries(page: dict[str, Any]) -> Iterable[Entry]:
    for entry in page["entries"]:
        yield Entry(
            Name(entry["service"], entry["environment"], entry["kind"] == "schema"),
            f"{page['epoch']}.{entry['revision']}",
            entry["managed_by"],
            entry.get("config"),
        )
