"""`infra`: the infrastructure under the services."""

from pathlib import Path
from typing import Annotated

import typer

from central_hub.cli.options import GUARDING
from central_hub.cli.session import Failed, Session, command, group
from central_hub.monitoring.infrastructure_yaml import WrongInfrastructure, read_infrastructure
from central_hub.settings import process_environment

InfrastructureFile = Annotated[Path, typer.Argument(metavar="FILE", help="An infrastructure.yaml.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    infra = group(app, GUARDING, "infra", "Look after the infrastructure under the services.")
    command(infra, GUARDING, is_local=True)(validate)


def validate(session: Session, file: InfrastructureFile) -> None:
    """Say whether a hub would take an infrastructure.yaml, and if not, all that is wrong with it by line and column.

    Asks no hub. Variables that the file names must be set here as they are for the hub; their values do not matter.
    """
    try:
        found = read_infrastructure(file.read_bytes(), process_environment())
    except WrongInfrastructure as error:
        errors = [
            {"line": flaw.place.line, "column": flaw.place.column, "message": flaw.sentence} for flaw in error.flaws
        ]
        raise Failed(f"{file} is not right", details=tuple(map(str, error.flaws)), errors=errors) from None
    counts = {
        "components": len(found.components),
        "services": len(found.services),
        "maintenance": len(found.maintenance),
        "rules": len(found.alerts.rules),
        "channels": len(found.alerts.channels),
    }
    if session.output.as_json:
        session.output.json(counts)
    else:
        session.output.text(", ".join(f"{count} {name}" for name, count in counts.items()))
