"""`schema`: what the configuration of a service must be; `validate`: whether a document would be accepted."""

from pathlib import Path
from typing import Annotated, Any

import typer

from central_hub.cli.document_files import read_file
from central_hub.cli.options import CHANGING, GUARDING, Allow, Environment, Reason, Service, Yes
from central_hub.cli.outcome import show_outcome, show_proposal
from central_hub.cli.session import Session, command, group
from central_hub_client.wire import DEFAULT_ENVIRONMENT

SchemaFile = Annotated[Path, typer.Argument(metavar="FILE", help="A JSON Schema: JSON, YAML or TOML.")]
DocumentFile = Annotated[Path, typer.Argument(metavar="FILE", help="A document: JSON, YAML or TOML.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check whether it would be accepted, store nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    schemas = group(app, GUARDING, "schema", "Show, register and withdraw the JSON Schema of a service.")
    command(schemas, GUARDING)(get)
    command(schemas, GUARDING)(put)
    command(schemas, GUARDING)(delete)
    command(app, CHANGING)(validate)


def get(session: Session, service: Service, environment: Environment = DEFAULT_ENVIRONMENT) -> None:
    """Show the schema that holds in an environment: its own, or else that of `default`."""
    schema = session.hub.get(_path(service), environment=environment).value
    if session.output.as_json:
        session.output.json(schema)
    else:
        session.output.document(schema)


def put(
    session: Session,
    service: Service,
    file: SchemaFile,
    environment: Environment = DEFAULT_ENVIRONMENT,
    reason: Reason = None,
    dry_run: DryRun = False,
) -> None:
    """Register a JSON Schema (2020-12, draft-07, draft-04): every change is held against it from now on.

    It is refused where it cannot be used, and where a configuration that there is now does not satisfy it.
    """
    schema = read_file(file, bounded_integers=False)
    answer = session.hub.write("PUT", _path(service), schema, environment=environment, reason=reason, dry_run=dry_run)
    show_outcome(session.output, answer.value)


def delete(
    session: Session,
    service: Service,
    environment: Environment = DEFAULT_ENVIRONMENT,
    reason: Reason = None,
    yes: Yes = False,
) -> None:
    """Withdraw the schema of an environment. In others that of `default` holds again; its history stays."""
    session.confirm(f"Withdraw the schema of {service} in environment {environment}?", yes=yes)
    show_outcome(
        session.output, session.hub.write("DELETE", _path(service), environment=environment, reason=reason).value
    )


def validate(
    session: Session,
    service: Service,
    file: DocumentFile,
    environment: Environment = DEFAULT_ENVIRONMENT,
    allow: Allow = None,
) -> None:
    """Ask whether a file would be accepted as the document of a service, and show what would change.

    All that is wrong is named at once, and the exit code is 1. Nothing is stored.
    """
    body: dict[str, Any] = {"config": read_file(file), "environment": environment, "allow": allow or []}
    answer = session.hub.write("POST", f"/config/validate/{service}", body).value
    show_proposal(session.output, answer)
    show_outcome(session.output, answer)


def _path(service: str) -> str:
    return f"/config/schema/{service}"
