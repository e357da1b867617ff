"""The audit log as it is handed out, page by page: by the hub, or from a file that it was saved to."""

import base64
import binascii
import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from central_hub.audit.chain import Entry, Record
from central_hub.cli.hub_client import HubClient

Page = dict[str, Any]

PAGE_ENTRIES: Final = 500


class WrongExport(ValueError):
    """The file is no saved audit log. The message is for people."""


def pages_of(hub: HubClient, *, save: Path | None = None) -> Iterator[Page]:
    """Every page, from the first entry to the last; each is a line of the file `save`. Raises OSError.

    The file holds contents: it is made for its owner alone.
    """
    with nullcontext() if save is None else _new_private_file(save) as file:
        after: str | None = None
        while True:
            page: Page = hub.get("/audit", after=after, limit=PAGE_ENTRIES).value
            if file is not None:
                file.write(json.dumps(page, separators=(",", ":")) + "\n")
            yield page
            after = page["next"]
            if after is None:
                return


def pages_in(path: Path) -> list[Page]:
    """The pages of a file: one a line, or a single answer of `GET /audit`. Raises WrongExport, OSError."""
    text = path.read_bytes()
    try:
        try:
            pages = [json.loads(text)]
        except ValueError:
            pages = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise WrongExport(f"{path} is no saved audit log: {error}") from error
    if not pages or not all(isinstance(page, dict) and {"entries", "head"} <= page.keys() for page in pages):
        raise WrongExport(f"{path} is no saved audit log: `central-hub audit verify --save` makes one")
    return pages


def record(entry: Any) -> Record:
    """An entry of a page. Raises WrongExport."""
    try:
        facts = {name: entry[name] for name in Entry.__dataclass_fields__}
        facts["changed_at"] = datetime.fromisoformat(facts["changed_at"])
        salt = None if entry["salt"] is None else base64.b64decode(entry["salt"], validate=True)
        return Record(Entry(**facts), entry["entry_hash"], salt, entry["content"], entry["redacted"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise WrongExport(f"an entry of the audit log cannot be read ({error}): was the file edited?") from error


def _new_private_file(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
