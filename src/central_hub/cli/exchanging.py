"""`export`, `apply`: documents out of the hub into files, and back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from central_hub.cli import change_list
from central_hub.cli.document_files import DocumentFile, document_name, parse_name, read_files, write_file
from central_hub.cli.options import CHANGING, READING, Allow, Reason, Yes
from central_hub.cli.outcome import sentence, show_proposal
from central_hub.cli.replacing import Replacement, current
from central_hub.cli.session import Failed, Session, command
from central_hub_client.errors import Forbidden
from central_hub_client.wire import DEFAULT_ENVIRONMENT


def _document(text: str) -> str:
    try:
        parse_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


Documents = Annotated[
    list[str] | None,
    typer.Argument(
        parser=_document,
        metavar="[SERVICE[@ENVIRONMENT]...]",
        help="Which documents; of a service alone those of all its environments; without any, all there are.",
    ),
]
Directory = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write the files.")]
Sources = Annotated[
    list[Path],
    typer.Option("--file", "-f", metavar="FILE|DIR", help="A file, or a directory of files. Repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show the changes, store nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(export)
    command(app, CHANGING)(apply)


def export(session: Session, documents: Documents = None, output: Directory = Path()) -> None:
    """Write documents into files, one for each, as `apply` reads them.

    Finding out which documents there are needs a token that may read the audit log. Without one, name them: a service
    alone means its document in the environment default then.
    """
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for service, environment in _wanted(session, documents or []):
        found = session.hub.get(f"/config/{service}", environment=environment, own=True).value
        written.append(str(write_file(output, service, environment, found["config"])))
    if session.output.as_json:
        session.output.json({"files": written})
    else:
        session.output.text(f"{len(written)} documents written to {output}")


def apply(
    session: Session,
    file: Sources,
    reason: Reason = None,
    allow: Allow = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make documents what the files say: all changes are shown first, then stored one document after another.

    Files are JSON, YAML or TOML. What is like that already is left alone, so that it can be repeated. Documents
    without a file are left alone too. A file whose document somebody changes meanwhile is refused. Each document is a
    revision of its own: where one is refused, those before it are stored.
    """
    plans = [_plan(session, document, reason, allow) for document in read_files(file)]
    changing = [(replacement, proposal) for replacement, proposal in plans if _is_change(replacement, proposal)]
    for _, proposal in changing:
        show_proposal(session.output, proposal)
    if len(changing) < len(plans):
        session.output.note(f"{len(plans) - len(changing)} of {len(plans)} documents are like that already")
    if dry_run or not changing:
        if session.output.as_json:
            session.output.json({"documents": [proposal for _, proposal in plans]})
        return
    gone = [
        f"{key} of {document_name(replacement.service, replacement.environment)}"
        for replacement, proposal in changing
        for key in change_list.removed(proposal["changes"])
    ]
    question = f"Remove {', '.join(gone)}, and store" if gone else "Store"
    session.confirm(f"{question} {len(changing)} documents?", yes=yes)
    _store(session, [replacement for replacement, _ in changing])


def _plan(
    session: Session, document: DocumentFile, reason: str | None, allow: list[str] | None
) -> tuple[Replacement, dict[str, Any]]:
    seen = current(session.hub, document.service, document.environment)
    replacement = Replacement(document.service, document.environment, document.config, seen.revision, reason, allow)
    return replacement, replacement.propose(session.hub)


def _is_change(replacement: Replacement, proposal: dict[str, Any]) -> bool:
    return bool(proposal["changes"]) or replacement.creates


def _store(session: Session, replacements: list[Replacement]) -> None:
    outcomes = []
    try:
        for replacement in replacements:
            outcomes.append(replacement.store(session.hub))
            if not session.output.as_json:
                session.output.text(sentence(outcomes[-1]))
    finally:
        # Also where one is refused: what is stored is stored.
        if session.output.as_json:
            session.output.json({"documents": outcomes})


def _wanted(session: Session, names: list[str]) -> list[tuple[str, str]]:
    """The documents to write, in order. Raises Failed."""
    named = [parse_name(name) for name in names if "@" in name]
    services = [name for name in names if "@" not in name]
    if names and not services:
        return sorted(set(named))
    try:
        there = _all_documents(session)
    except Forbidden as error:
        if not names:
            raise Failed(f"{error.detail}: name the documents to export") from error
        return sorted({*named, *((service, DEFAULT_ENVIRONMENT) for service in services)})
    if missing := set(services) - {service for service, _ in there}:
        raise Failed(f"there is no document of {', '.join(sorted(missing))}")
    return sorted({*named, *(key for key in there if not names or key[0] in services)})


def _all_documents(session: Session) -> set[tuple[str, str]]:
    """Every document that there is now: the audit log tells of each one's beginning and end."""
    live: set[tuple[str, str]] = set()
    after: str | None = None
    while True:
        page = session.hub.get("/audit", after=after, limit=1000).value
        for entry in page["entries"]:
            key = entry["service"], entry["environment"]
            if entry["action"] == "deleted":
                live.discard(key)
            elif entry["action"] != "schema":
                live.add(key)
        after = page["next"]
        if after is None:
            return live
