"""`get`, `explain`, `history`, `diff`: what the configuration is, where it comes from, and what it was."""

from typing import Annotated

import typer

from central_hub.cli.key_paths import WrongKey, find, parse_key
from central_hub.cli.options import READING, Environment, Service
from central_hub.cli.session import Failed, Session, command
from central_hub_client.wire import DEFAULT_ENVIRONMENT

Own = Annotated[bool, typer.Option("--own", help="Only the document itself, without the layers under it.")]
At = Annotated[
    str | None, typer.Option("--at", metavar="REVISION|TIME", help="As it was: 42, 1.42 or 2026-11-23T14:00:00Z.")
]
Key = Annotated[str | None, typer.Argument(metavar="[KEY]", help="Only this: operational.batch_size")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(get)


def get(
    session: Session,
    service: Service,
    key: Key = None,
    own: Own = False,
    at: At = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> None:
    """Show the configuration of a service, or one value of it.

    What you see is what its instances are sent: the global document and the service's own, merged.
    """
    found = session.hub.get(f"/config/{service}", environment=environment, own=own, at=at).value
    output = session.output
    if key is not None:
        steps = parse_key(key)
        try:
            value = find(found["config"], steps)
        except WrongKey as error:
            raise Failed(f"{error} in the configuration of {service} in environment {environment}") from error
        if output.as_json:
            output.json(value)
        elif isinstance(value, str):
            output.text(value)
        else:
            output.document(value)
        return
    if output.as_json:
        output.json(found)
        return
    output.note(
        f"{service} in environment {environment}: revision {found['epoch']}.{found['revision']}, version"
        f" {found['version']}, changed by {found['updated_by']} at {found['updated_at']}"
    )
    output.document(found["config"])
