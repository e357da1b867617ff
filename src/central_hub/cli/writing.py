"""`set`, `rollback`: change a document, after showing what will change."""

from typing import Annotated, Any

import typer

from central_hub.cli import change_list
from central_hub.cli.hub_client import MERGE_PATCH
from central_hub.cli.key_paths import merge_patch, nested, parse_assignment, parse_key
from central_hub.cli.options import CHANGING, Allow, Environment, Reason, Service, Yes, parse_revision
from central_hub.cli.outcome import show_outcome, show_proposal
from central_hub.cli.replacing import NO_REVISION, Replacement, current
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub_client.errors import NotFound
from central_hub_client.wire import DEFAULT_ENVIRONMENT

Assignments = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="operational.batch_size=200; JSON, or else text.")
]
Unset = Annotated[
    list[str] | None, typer.Option("--unset", metavar="KEY", help="Remove a key. Repeatable.", show_default=False)
]
Revision = Annotated[
    str, typer.Argument(parser=parse_revision, metavar="REVISION", help="42 or 1.42, as `history` shows it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show the changes, store nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, CHANGING, "set")(set_keys)
    command(app, CHANGING)(rollback)


def set_keys(
    session: Session,
    service: Service,
    assignments: Assignments = None,
    unset: Unset = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
    reason: Reason = None,
    allow: Allow = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Set keys of a service's document: operational.batch_size=200

    A value that reads as JSON is taken as JSON (200, true, [1, 2]), anything else as text. An object is merged into
    what is there. The changes are shown before they are made, and nothing else can slip in between.
    """
    values = [parse_assignment(text) for text in assignments or []]
    removals = [parse_key(text) for text in unset or []]
    if not values and not removals:
        raise Failed("nothing to set: name KEY=VALUE, or --unset KEY", code=ExitCode.USAGE)
    query: dict[str, Any] = {"environment": environment, "reason": reason, "allow": allow}
    patch = merge_patch(values, removals)
    path = f"/config/{service}"
    try:
        proposed = session.hub.write("PATCH", path, patch, content_type=MERGE_PATCH, dry_run=True, **query)
    except NotFound:
        if removals:
            raise
        # If somebody creates it meanwhile, this is refused.
        new = Replacement(service, environment, nested(values), NO_REVISION, reason, allow)
        _create(session, new, dry_run=dry_run, yes=yes)
        return
    show_proposal(session.output, proposed.value)
    if dry_run:
        show_outcome(session.output, proposed.value)
        return
    if gone := change_list.removed(proposed.value["changes"]):
        session.confirm(f"Remove {', '.join(gone)} from {service} in environment {environment}?", yes=yes)
    done = session.hub.write("PATCH", path, patch, content_type=MERGE_PATCH, if_match=proposed.etag, **query)
    show_outcome(session.output, done.value)


def rollback(
    session: Session,
    service: Service,
    revision: Revision,
    environment: Environment = DEFAULT_ENVIRONMENT,
    reason: Reason = None,
    allow: Allow = None,
    yes: Yes = False,
) -> None:
    """Make a document what it was at an earlier revision. It becomes a new revision: nothing is lost."""
    output, hub = session.output, session.hub
    path = f"/config/diff/{service}"
    seen = current(hub, service, environment)
    newest = str(hub.get(path, environment=environment).value["to"])
    changes = hub.get(path, environment=environment, from_=newest, to=revision).value["changes"]
    if changes and not output.as_json:
        output.text(f"{service} in environment {environment}, back to revision {revision}:")
        change_list.show(output, changes)
    if changes:
        session.confirm(f"Roll {service} back?", yes=yes)
    body: dict[str, Any] = {"revision": revision, "environment": environment}
    # What was shown is what is done: if somebody changes the document meanwhile, this is refused.
    body["expected_revision"] = seen.revision
    if reason is not None:
        body["reason"] = reason
    if allow:
        body["allow"] = allow
    show_outcome(output, hub.write("POST", f"/config/rollback/{service}", body).value)


def _create(session: Session, new: Replacement, *, dry_run: bool, yes: bool) -> None:
    outcome = new.propose(session.hub)
    show_proposal(session.output, outcome)
    if not dry_run:
        # A new document may be a typing error in the name of an old one.
        session.confirm(
            f"There is no document of {new.service} in environment {new.environment} yet. Create it?", yes=yes
        )
        outcome = new.store(session.hub)
    show_outcome(session.output, outcome)
