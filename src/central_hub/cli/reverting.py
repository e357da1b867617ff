"""`revert`: take back a whole revision."""

from typing import Annotated, Any

import typer

from central_hub.cli import change_list
from central_hub.cli.document_files import Name
from central_hub.cli.options import CHANGING, Allow, Reason, Yes, parse_revision
from central_hub.cli.outcome import NOT_ANNOUNCED, effect_of, warned
from central_hub.cli.session import Session, command

Revision = Annotated[
    str, typer.Argument(parser=parse_revision, metavar="REVISION", help="42 or 1.42, as `log` shows it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show the changes, store nothing.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    command(app, CHANGING)(revert)


def revert(
    session: Session,
    revision: Revision,
    reason: Reason = None,
    allow: Allow = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take back a whole revision: all documents and schemas that it changed become what they were before it.

    That becomes a new revision: nothing is lost. It is refused where any of them has been changed since; `rollback`
    takes one document back by itself.
    """
    output = session.output
    body: dict[str, Any] = {"revision": revision, "allow": allow or []}
    if reason is not None:
        body["reason"] = reason
    tried = session.hub.write("POST", "/config/rollback", {**body, "dry_run": True}).value
    if not output.as_json:
        for update in tried["updates"]:
            output.text(f"{Name(update['service'], update['environment'], update['kind'] == 'schema')}:", "bold")
            change_list.show(output, update["changes"])
        for line in effect_of(tried):
            output.text(line)
        for warning in tried["warnings"]:
            output.warn(warned(warning))
    if not dry_run:
        session.confirm(f"Take back revision {revision}?", yes=yes)
        tried = session.hub.write("POST", "/config/rollback", body).value
    if output.as_json:
        output.json(tried)
    elif dry_run:
        output.text("would be accepted; nothing was stored")
    else:
        place = f"{tried['epoch']}.{tried['revision']}"
        announced = "announced" if tried["announced"] else NOT_ANNOUNCED
        output.text(f"revision {revision} taken back: revision {place}, {announced}", "bold")
