"""`promote`: carry what one environment runs on into another, as one revision."""

from typing import Annotated

import typer

from central_hub.cli.document_files import Name
from central_hub.cli.inventory import Entry, inventory
from central_hub.cli.options import CHANGING, Allow, Reason, Yes, parse_environment, parse_service
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub.cli.transacting import Batch, Wanted, counted
from central_hub_client.wire import GLOBAL

Services = Annotated[
    list[str] | None,
    typer.Argument(
        parser=parse_service,
        metavar="[SERVICE...]",
        help="Which services; without any, all that have a document there, but not `_global`.",
    ),
]
From = Annotated[
    str, typer.Option("--from", parser=parse_environment, metavar="ENVIRONMENT", help="Where it has been tried.")
]
To = Annotated[
    str, typer.Option("--to", parser=parse_environment, metavar="ENVIRONMENT", help="Where it shall run next.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show the changes, store nothing.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    command(app, CHANGING)(promote)


def promote(
    session: Session,
    source: From,
    target: To,
    services: Services = None,
    reason: Reason = None,
    allow: Allow = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Carry documents and schemas from one environment to another: production becomes what staging is.

    Each document of the target becomes what the document of the source is, keys that are not there are removed. All
    changes are shown first, then stored as one revision or not at all. Documents that only the target has are left
    alone.
    """
    if source == target:
        raise Failed("--from and --to name the same environment", code=ExitCode.USAGE)
    there = inventory(session.hub, services=services or (), environments={source, target}, with_config=True)
    chosen = _chosen(there, source, services or [])
    wanted = [
        Wanted(name, entry.config, there.get(name))
        for name, entry in ((Name(from_.service, target, from_.is_schema), entry) for from_, entry in chosen.items())
    ]
    changes = sorted((one for one in wanted if one.is_change), key=lambda one: one.name)
    if changes:
        batch = Batch(changes, reason=reason or f"promote from {source} to {target}", allow=allow or ())
        batch.carry_out(session, f"Promote to {target}:", dry_run=dry_run, yes=yes)
    elif session.output.as_json:
        session.output.json({"status": "valid" if dry_run else "unchanged", "updates": []})
    else:
        session.output.text(f"{counted(wanted)}: {target} is like {source} already")


def _chosen(there: dict[Name, Entry], source: str, services: list[str]) -> dict[Name, Entry]:
    """What is carried over. Raises Failed where there is nothing of that name."""
    chosen = {
        name: entry
        for name, entry in there.items()
        if name.environment == source and (name.service in services if services else name.service != GLOBAL)
    }
    documents = {name.service for name in chosen if not name.is_schema}
    if missing := sorted(set(services) - documents):
        raise Failed(f"there is no document of {', '.join(missing)} in environment {source}")
    if not documents:
        raise Failed(f"there are no documents in environment {source}")
    return chosen
