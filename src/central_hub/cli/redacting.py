"""`audit redact`: remove contents from the history that must not stay, as the owner of the tables."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from central_hub.cli.key_paths import dotted_pointer
from central_hub.cli.options import Environment, Service, Yes
from central_hub.cli.running import read_settings
from central_hub.cli.session import ExitCode, Failed, Session
from central_hub_client.wire import DEFAULT_ENVIRONMENT, Position

if TYPE_CHECKING:
    from central_hub.cli.redaction import Redaction

OWNER_URL_FILE: Final = "database.owner.url"


def _revision(text: str) -> str:
    try:
        Position.parse(text, current_epoch=0)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


Revisions = Annotated[
    list[str], typer.Argument(parser=_revision, metavar="REVISION...", help="Whose contents are to go.")
]
WhyNeeded = Annotated[str, typer.Option("--reason", "-m", metavar="TEXT", help="Why; kept beside the redaction.")]


def redact(
    session: Session,
    service: Service,
    revisions: Revisions,
    reason: WhyNeeded,
    environment: Environment = DEFAULT_ENVIRONMENT,
    yes: Yes = False,
) -> None:
    """Remove contents from the history, for good: a secret that slipped in. The chain still verifies.

    Runs as the owner of the tables (CENTRAL_HUB_MIGRATION_DATABASE_URL, or the data directory of a local hub): the hub
    itself cannot. Change the document first. Backups keep what they hold, and a secret that was here must be replaced
    wherever it opens something.
    """
    # Loading the database's library takes longer than asking a hub: only where it is needed.
    from central_hub.cli.redaction import Redaction

    numbers = sorted({Position.parse(text, current_epoch=0).revision for text in revisions})
    redaction = Redaction(owner_url(session), service, environment, numbers)
    asyncio.run(_redact(session, redaction, reason, yes=yes))


async def _redact(session: Session, redaction: "Redaction", reason: str, *, yes: bool) -> None:
    output = session.output
    try:
        held = await redaction.prepare()
        for revision, pointers in held.items():
            keys = ", ".join(map(dotted_pointer, pointers))
            output.note(f"revision {revision} also contains what is gone from the document since: {keys}")
        contents = ", ".join(map(str, redaction.revisions))
        question = f"Remove what {redaction.service} in environment {redaction.environment} contained at revision"
        session.confirm(f"{question} {contents}, for good?", yes=yes)
        await redaction.carry_out(reason)
    finally:
        await redaction.close()
    if output.as_json:
        names = {"service": redaction.service, "environment": redaction.environment}
        still_in = {str(revision): pointers for revision, pointers in held.items()}
        output.json(names | {"redacted": redaction.revisions, "still_in": still_in})
        return
    output.text(f"the content of revision {contents} is gone")
    if held:
        output.note(f"look at revision {', '.join(map(str, held))} too, and redact what must not stay there either")


def owner_url(session: Session) -> str:
    """The database as its owner: configured, or of a local hub. Raises Failed."""
    settings = read_settings(session)
    if settings.migration_database_url is not None:
        return settings.migration_database_url.get_secret_value()
    try:
        return (settings.data_dir / OWNER_URL_FILE).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Failed(
            "this needs the owner of the tables: set CENTRAL_HUB_MIGRATION_DATABASE_URL, or name the data"
            " directory of a running local hub with --data-dir",
            code=ExitCode.USAGE,
        ) from error
