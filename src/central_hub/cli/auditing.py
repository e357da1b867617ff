"""`audit verify`: walk the chain over everything that was ever changed."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from central_hub.audit.chain import GENESIS, Anchor, Verifier
from central_hub.cli import redacting, retaining
from central_hub.cli.anchor_files import anchors_in
from central_hub.cli.audit_pages import Page, pages_in, pages_of, record
from central_hub.cli.options import GUARDING, Service
from central_hub.cli.session import ExitCode, Failed, Session, command, group
from central_hub_client.trust import parse_public_keys
from central_hub_client.wire import DEFAULT_ENVIRONMENT, Position

Anchors = Annotated[
    list[str] | None,
    typer.Option("--anchor", metavar="POSITION:HASH", help="1.42:sha256:…, written down earlier. Repeatable."),
]
AnchorsFile = Annotated[
    Path | None,
    typer.Option(
        "--anchors", metavar="FILE", help="Anchors, one a line, as `audit anchor` and `audit trim` give them."
    ),
]
SignedBy = Annotated[
    list[str] | None,
    typer.Option(
        "--signed-by",
        metavar="KEY",
        help="The public key (base64) that every anchor of the file must be signed by. Repeatable.",
    ),
]
SavedLog = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="Verify what --save wrote, without asking a hub.")
]
Save = Annotated[
    Path | None, typer.Option("--save", metavar="FILE", help="Write the log into a new file, contents and all.")
]

_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    audit = group(app, GUARDING, "audit", "Verify the audit log, and remove contents from it.")
    command(audit, GUARDING)(verify)
    command(audit, GUARDING)(anchor)
    command(audit, GUARDING, is_local=True)(redacting.redact)
    command(audit, GUARDING, is_local=True)(retaining.trim)


def anchor(session: Session, service: Service) -> None:
    """Print where the log ends, as the event stream of a service tells it: a line for `audit verify --anchors`.

    A token that reads the service is enough, so that the anchors can be kept by somebody who does not run the hub:
    central-hub audit anchor billing >> anchors
    """
    for event in session.hub.events(
        "/config/watch", last_event_id=None, service=[service], environment=DEFAULT_ENVIRONMENT
    ):
        if event.kind == "bookmark":
            session.output.json(event.value, indent=None)
            return
    raise Failed("the hub ended the stream before it told where the log ends: try again")


def verify(
    session: Session,
    anchor: Anchors = None,
    anchors_file: AnchorsFile = None,
    signed_by: SignedBy = None,
    file: SavedLog = None,
    save: Save = None,
) -> None:
    """Walk the whole audit log and say whether anything in it was edited, removed, inserted or cut off.

    Somebody who may write to the database could compute the whole chain anew. An anchor, the head that was written
    down outside earlier, notices that too: note the head that this command prints.
    """
    if file is not None and save is not None:
        raise Failed("--file reads a saved log and --save makes one: take one of them", code=ExitCode.USAGE)
    verifier = Verifier([*(parse_anchor(text) for text in anchor or []), *_anchors_in(anchors_file, signed_by)])
    differing = _walk(verifier, pages_of(session.hub, save=save) if file is None else pages_in(file))
    flaws = [f"revision {flaw.revision} {flaw.sentence}" for flaw in verifier.flaws]
    flaws += [
        f"the document of {document['service']} in environment {document['environment']} is not what its last entry"
        " says: somebody wrote around the log"
        for document in differing
    ]
    head = f"{verifier.position}:{verifier.head}"
    if session.output.as_json:
        report = {"entries": verifier.entries, "redacted": verifier.redacted, "head": head, "flaws": flaws}
        session.output.json(report | {"differing_documents": differing})
    else:
        session.output.text(f"{verifier.entries} entries, {verifier.redacted} of them redacted")
        session.output.text(f"head {head}")
    if flaws:
        raise Failed(f"the audit log does not verify: {len(flaws)} flaws", details=tuple(flaws))
    if not session.output.as_json:
        session.output.text("the chain is whole", "bold green")


def _walk(verifier: Verifier, pages: Iterable[Page]) -> list[dict[str, str]]:
    """Take every entry, and return the documents that are not what the log says."""
    head: dict[str, Any] = {"epoch": 0, "revision": 0, "hash": GENESIS}
    differing: list[dict[str, str]] = []
    for page in pages:
        for entry in page["entries"]:
            verifier.take(record(entry))
        head, differing = page["head"], page.get("differing_documents", [])
    verifier.finish(recorded_head=head["hash"], recorded=Position(head["epoch"], head["revision"]))
    return differing


def _anchors_in(path: Path | None, signed_by: list[str] | None) -> list[Anchor]:
    if path is None:
        return []
    try:
        keys = None if signed_by is None else parse_public_keys(",".join(signed_by))
    except ValueError as error:
        raise Failed(f"--signed-by: {error}", code=ExitCode.USAGE) from error
    return anchors_in(path, signed_by=keys)


def parse_anchor(text: str) -> Anchor:
    """What was written down of the log at some time. Raises Failed."""
    position, _, digest = text.partition(":")
    try:
        if _HASH.fullmatch(digest) is None:
            raise ValueError("the hash is not sha256:<64 digits>")
        return Anchor(Position.parse(position, current_epoch=0), digest)
    except ValueError as error:
        raise Failed(
            f"{text!r} is no anchor: 1.42:sha256:…, as `audit verify` prints it ({error})", code=ExitCode.USAGE
        ) from error
