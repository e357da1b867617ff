"""`apply`: make documents and schemas what files say, as one revision."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from central_hub.cli.document_files import DocumentFile, Name, read_files
from central_hub.cli.inventory import Entry, inventory
from central_hub.cli.options import CHANGING, Allow, Reason, Yes
from central_hub.cli.session import Session, command
from central_hub.cli.transacting import MOST_UPDATES, Batch, Wanted, counted

MANAGER: Final = "apply"
_MARKED_BYTES: Final = 512 * 1024

Sources = Annotated[
    list[Path],
    typer.Option("--file", "-f", metavar="FILE|DIR", help="A file, or a directory of files. Repeatable."),
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Delete what was applied under this name before and has no file any more.")
]
ManagedBy = Annotated[
    str,
    typer.Option(
        "--managed-by",
        metavar="NAME",
        help="Whose files these are: each repository that is applied needs its own name.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show the changes, store nothing.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    command(app, CHANGING)(apply)


def apply(
    session: Session,
    file: Sources,
    prune: Prune = False,
    managed_by: ManagedBy = MANAGER,
    reason: Reason = None,
    allow: Allow = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make documents and schemas what the files say: all changes are shown first, then stored as one revision.

    Files are JSON, YAML or TOML, one for each document: billing.json, billing@staging.yaml, billing.schema.json. What
    is like that already is left alone, so that it can be repeated. Either all of it is stored or nothing, also where
    somebody changes one of the documents meanwhile.

    Whoever changes such a document by other means is warned from then on that it is managed by files. Documents without
    a file are left alone, unless --prune is given.
    """
    files = list(read_files(file))
    there = inventory(session.hub, services={found.name.service for found in files}, with_config=True)
    wanted = [Wanted(found.name, found.config, there.get(found.name)) for found in files]
    changes = [one for one in wanted if one.is_change]
    orphans = _orphans(session, files, managed_by)
    if prune:
        changes += [Wanted(entry.name, None, entry) for entry in orphans]
    elif orphans:
        session.output.note(f"without a file, and left alone without --prune: {_listed(orphans)}")
    same = [one for one in wanted if not one.is_change]
    if same:
        session.output.note(f"{counted(same)} of {len(wanted)} files: like that already")
    if changes:
        batch = Batch(changes, reason=reason, allow=allow or (), managed_by=managed_by)
        batch.carry_out(session, "Store", dry_run=dry_run, yes=yes)
    elif session.output.as_json:
        session.output.json({"status": "valid" if dry_run else "unchanged", "updates": []})
    if not dry_run:
        _mark(session, [one.there for one in same if one.there is not None], managed_by)


def _orphans(session: Session, files: Sequence[DocumentFile], manager: str) -> list[Entry]:
    """What was applied under this name and has no file."""
    names = {file.name for file in files}
    everything = inventory(session.hub, with_config=False).values()
    return sorted(
        (entry for entry in everything if entry.managed_by == manager and entry.name not in names),
        key=lambda entry: entry.name,
    )


def _mark(session: Session, entries: Sequence[Entry], manager: str) -> None:
    """Say whose these are, where that is not known. This changes none of them, and so takes no revision."""
    for updates in _in_parts([_as_it_is(entry) for entry in entries if entry.managed_by != manager]):
        session.hub.write("POST", "/config/transaction", {"updates": updates, "managed_by": manager})


def _as_it_is(entry: Entry) -> dict[str, Any]:
    name: Name = entry.name
    about = {"service": name.service, "environment": name.environment, "expected_revision": entry.revision}
    return {**about, "schema": entry.config} if name.is_schema else {**about, "config": {}, "mode": "merge"}


def _in_parts(updates: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    size = 0
    for update in updates:
        length = len(json.dumps(update))
        if part and (len(part) == MOST_UPDATES or size + length > _MARKED_BYTES):
            yield part
            part, size = [], 0
        part.append(update)
        size += length
    if part:
        yield part


def _listed(entries: Sequence[Entry]) -> str:
    return ", ".join(str(entry.name) for entry in entries)
