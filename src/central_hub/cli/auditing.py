"""`audit`: verify the chain over everything that was ever changed, and remove a content that must not stay."""

import asyncio
import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from central_hub.audit.chain import Anchor, Entry, Record, Verifier
from central_hub.cli.options import GUARDING, Environment, Service, Yes
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub_client.wire import DEFAULT_ENVIRONMENT, Position

Anchors = Annotated[
    list[str] | None,
    typer.Option("--anchor", metavar="POSITION:HASH", help="1.42:sha256:…, written down earlier. Repeatable."),
]
Revision = Annotated[int, typer.Argument(min=1, metavar="REVISION", help="Whose content is to go.")]
WhyNeeded = Annotated[str, typer.Option("--reason", "-m", metavar="TEXT", help="Why; kept beside the redaction.")]

OWNER_URL_FILE: Final = "database.owner.url"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, help="Verify the audit log, and redact contents in it.")
    command(group, GUARDING)(verify)
    command(group, GUARDING, is_local=True)(redact)
    app.add_typer(group, name="audit", rich_help_panel=GUARDING)


def verify(session: Session, anchor: Anchors = None) -> None:
    """Walk the whole audit log and say whether anything in it was edited, removed, inserted or cut off.

    Somebody who may write to the database could compute the whole chain anew. An anchor, the head that was written
    down outside earlier, notices that too: note the head that this command prints.
    """
    verifier = Verifier([_anchor(text) for text in anchor or []])
    head: dict[str, Any] = {"epoch": 0, "revision": 0, "hash": verifier.head}
    differing: list[dict[str, str]] = []
    for page in _pages(session):
        for entry in page["entries"]:
            verifier.take(_record(entry))
        head, differing = page["head"], page["differing_documents"]
        session.output.note(f"{verifier.entries} entries read")
    verifier.finish(recorded_head=head["hash"], recorded=Position(head["epoch"], head["revision"]))
    flaws = [f"revision {flaw.revision} {flaw.sentence}" for flaw in verifier.flaws]
    flaws += [
        f"the document of {document['service']} in environment {document['environment']} is not what its last entry"
        " says: somebody wrote around the log"
        for document in differing
    ]
    position = f"{head['epoch']}.{head['revision']}:{head['hash']}"
    if session.output.as_json:
        session.output.json(
            {"entries": verifier.entries, "redacted": verifier.redacted, "head": position, "flaws": flaws}
        )
    else:
        session.output.text(f"{verifier.entries} entries, {verifier.redacted} of them redacted")
        session.output.text(f"head {position}")
    if flaws:
        raise Failed(f"the audit log does not verify: {len(flaws)} flaws", details=tuple(flaws))
    if not session.output.as_json:
        session.output.text("the chain is whole", "bold green")


def redact(
    session: Session,
    service: Service,
    revision: Revision,
    reason: WhyNeeded,
    environment: Environment = DEFAULT_ENVIRONMENT,
    yes: Yes = False,
) -> None:
    """Remove a content from the history, for good: a secret that slipped in. The chain still verifies.

    Runs as the owner of the tables (CENTRAL_HUB_MIGRATION_DATABASE_URL, or the data directory of a local hub): the hub
    itself cannot. Change the document first; a secret that was here must be replaced wherever it opens something.
    """
    session.confirm(
        f"Remove what {service} in environment {environment} contained at revision {revision}, for good?", yes=yes
    )
    later = asyncio.run(_redact(_owner_url(session), service, environment, revision, reason))
    if session.output.as_json:
        session.output.json({"service": service, "environment": environment, "redacted": revision, "still_in": later})
        return
    session.output.text(f"the content of revision {revision} is gone")
    if later:
        revisions = ", ".join(map(str, later))
        session.output.note(f"the same content stands in revision {revisions} too: redact it there as well")


async def _redact(url: str, service: str, environment: str, revision: int, reason: str) -> list[int]:
    from central_hub.connections.database import Database
    from central_hub.storage import configs

    database = Database(url, pool_size=1)
    try:
        async with database.reading() as connection:
            current = await configs.get(connection, service, environment)
            gone = await configs.as_of(connection, service, environment, revision)
            entries, _ = await configs.history(
                connection, service, environment, before=None, limit=200, max_bytes=64 * 1024 * 1024
            )
        if current is None or gone is None or gone.revision != revision:
            raise Failed(f"revision {revision} did not change {service} in environment {environment}")
        if current.revision == revision:
            raise Failed(
                f"revision {revision} is what {service} runs on now: change the document first, then redact",
            )
        at, by = datetime.now(UTC), database.role
        await database.transaction(
            lambda connection: configs.redact(connection, service, environment, revision, by=by, at=at, reason=reason)
        )
    finally:
        await database.close()
    return [
        entry.revision
        for entry in entries
        if entry.revision != revision and not entry.redacted and entry.config == gone.config
    ]


def _owner_url(session: Session) -> str:
    from central_hub.cli.running import read_settings

    settings = read_settings(session)
    if settings.migration_database_url is not None:
        return settings.migration_database_url.get_secret_value()
    path: Path = settings.data_dir / OWNER_URL_FILE
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Failed(
            "redacting needs the owner of the tables: set CENTRAL_HUB_MIGRATION_DATABASE_URL, or name the data"
            " directory of a running local hub with --data-dir",
            code=ExitCode.USAGE,
        ) from error


def _pages(session: Session) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        page: dict[str, Any] = session.hub.get("/audit", after=after, limit=500).value
        yield page
        after = page["next"]
        if after is None:
            return


def _record(entry: dict[str, Any]) -> Record:
    facts = {name: entry[name] for name in Entry.__dataclass_fields__}
    facts["changed_at"] = datetime.fromisoformat(entry["changed_at"])
    salt = None if entry["salt"] is None else base64.b64decode(entry["salt"])
    return Record(Entry(**facts), entry["entry_hash"], salt, entry["content"], entry["redacted"])


def _anchor(text: str) -> Anchor:
    position, _, digest = text.partition(":")
    try:
        return Anchor(Position.parse(position, current_epoch=0), digest)
    except ValueError as error:
        raise Failed(
            f"{text!r} is no anchor: 1.42:sha256:…, as `audit verify` prints it", code=ExitCode.USAGE
        ) from error
