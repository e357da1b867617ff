"""`contracts`: who runs which settings model, what a change would break, and which of the models count."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from central_hub.cli.document_files import read_file
from central_hub.cli.groups import ShownByDefault
from central_hub.cli.key_paths import dotted_pointer
from central_hub.cli.options import GUARDING, Environment, Service, Yes
from central_hub.cli.session import ExitCode, Failed, Session, command, group
from central_hub_client.wire import DEFAULT_ENVIRONMENT

Builds = Annotated[list[str], typer.Option("--build", metavar="BUILD", help="Which build. Repeatable.")]
Build = Annotated[str, typer.Option("--build", metavar="BUILD", help="Which build; '' is the one without a name.")]
SchemaFile = Annotated[
    Path | None,
    typer.Option("--schema", metavar="FILE", help="The JSON Schema of a build that nothing has run yet."),
]

_REASONS = {
    "running": "it runs",
    "pinned": "pinned",
    "seen": "seen within 30 days",
    "unpinned": "others are pinned",
    "forgotten": "not seen for 30 days",
    "retired": "retired",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    sentence = "`contracts SERVICE`: show whose settings models a change is held against. Pin and retire builds."
    contracts = group(app, GUARDING, "contracts", sentence, cls=ShownByDefault)
    command(contracts, GUARDING, "show")(show)
    command(contracts, GUARDING)(pin)
    command(contracts, GUARDING)(unpin)
    command(contracts, GUARDING)(retire)


def show(session: Session, service: Service, environment: Environment = DEFAULT_ENVIRONMENT) -> None:
    """Show who runs which settings model of a service.

    A change that a model refuses is refused, if the model counts: it runs, is pinned or was seen within 30 days, and
    accepts the present configuration. `validate` and every `--dry-run` say what a change would break.
    """
    _show(session, session.hub.get(f"/config/contracts/{service}", environment=environment).value)


def pin(
    session: Session,
    service: Service,
    builds: Builds,
    schema: SchemaFile = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> None:
    """Say which builds are deployed: they count, and whatever runs, in the place of all that was seen.

    For a pipeline, after a deployment. Each call replaces what was pinned before.
    """
    body: dict[str, Any] = {"builds": builds, "environment": environment}
    if schema is not None:
        if len(builds) != 1:
            raise Failed("a schema is that of one build: name one", code=ExitCode.USAGE)
        body["schema"] = read_file(schema, bounded_integers=False)
    _show(session, session.hub.write("POST", f"/config/contracts/{service}/pin", body).value)


def unpin(session: Session, service: Service, environment: Environment = DEFAULT_ENVIRONMENT) -> None:
    """Forget what was pinned: all that was seen within 30 days counts again."""
    body = {"builds": [], "environment": environment}
    _show(session, session.hub.write("POST", f"/config/contracts/{service}/pin", body).value)


def retire(
    session: Session,
    service: Service,
    build: Build,
    environment: Environment = DEFAULT_ENVIRONMENT,
    yes: Yes = False,
) -> None:
    """Let a build count no more, until an instance registers as it again. Needs the verb `force`."""
    session.confirm(f"Store what build {build!r} of {service} in environment {environment} refuses?", yes=yes)
    body = {"build": build, "environment": environment}
    _show(session, session.hub.write("POST", f"/config/contracts/{service}/retire", body).value)


def _show(session: Session, found: Mapping[str, Any]) -> None:
    output = session.output
    if output.as_json:
        output.json(found)
        return
    contracts = found["contracts"]
    if not contracts:
        output.note(f"no build of {found['service']} in environment {found['environment']} has told its settings model")
        return
    rows = [
        (
            contract["build"] or "(no name)",
            contract["schema"].removeprefix("sha256:")[:12],
            str(len(contract["instances"])),
            contract["last_seen"],
            "yes" if contract["counts"] else "no",
            _why(contract),
        )
        for contract in contracts
    ]
    output.table(("build", "schema", "instances", "last seen", "counts", "because"), rows)
    for contract in contracts:
        for error in contract["errors"]:
            place = dotted_pointer(error["pointer"]) or "it"
            output.text(f"  build {contract['build'] or '(no name)'}: {place} {error['message']}")


def _why(contract: Mapping[str, Any]) -> str:
    if contract["unusable"] is not None:
        return f"its schema {contract['unusable']}"
    return "it refuses the present configuration" if contract["errors"] else _REASONS[contract["because"]]
