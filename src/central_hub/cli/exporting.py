"""`export`: documents and schemas out of the hub into files."""

from pathlib import Path
from typing import Annotated

import typer

from central_hub.cli.document_files import Name, files_in, named_files, write_file
from central_hub.cli.inventory import Entry, inventory
from central_hub.cli.options import READING
from central_hub.cli.session import ExitCode, Failed, Session, command


def _document(text: str) -> str:
    try:
        name = Name.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if name.is_schema:
        raise typer.BadParameter(f"{text!r}: name the service, and its schema comes along")
    return text


Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the files.")]
Documents = Annotated[
    list[str] | None,
    typer.Argument(
        parser=_document,
        metavar="[SERVICE[@ENVIRONMENT]...]",
        help="Which documents; of a service alone those of all its environments; without any, all there are.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    command(app, READING)(export)


def export(session: Session, directory: Directory, documents: Documents = None) -> None:
    """Write documents and schemas into files, one for each, as `apply` reads them.

    All are of one moment. It writes what the token may read, and takes nothing away: files of documents that are no
    longer in the hub are named, and stay.
    """
    found = _wanted(session, documents or [])
    directory.mkdir(parents=True, exist_ok=True)
    others = named_files(files_in(directory))
    for name in found.keys() & others.keys():
        if others[name].suffix != ".json":
            raise Failed(f"{others[name]} is there already and would be a second {name}: move it", code=ExitCode.USAGE)
    written = [str(write_file(directory, name, entry.config or {})) for name, entry in sorted(found.items())]
    if session.output.as_json:
        session.output.json({"files": written})
        return
    session.output.text(f"{len(written)} files written to {directory}")
    if not documents and (left := sorted(others.keys() - found.keys())):
        session.output.note(f"not in the hub, and left alone: {', '.join(str(others[name]) for name in left)}")


def _wanted(session: Session, texts: list[str]) -> dict[Name, Entry]:
    """The documents to write, with their schemas. Raises Failed."""
    names = [Name.parse(text) for text in texts]
    there = inventory(session.hub, services={name.service for name in names}, with_config=True)
    chosen = {name: entry for name, entry in there.items() if not texts or _is_chosen(name, texts)}
    for text in texts:
        if not any(_is_chosen(name, [text]) and not name.is_schema for name in chosen):
            raise Failed(f"there is no document of {text}, or the token does not cover it")
    return chosen


def _is_chosen(name: Name, texts: list[str]) -> bool:
    # `billing` means all of its environments, and `billing@default` is how to say that one alone.
    return name.service in texts or f"{name.service}@{name.environment}" in texts
