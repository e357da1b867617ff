"""`infra validate`: an infrastructure.yaml, looked at without a hub."""

from pathlib import Path
from typing import Annotated

import typer

from central_hub.cli.session import Failed, Session
from central_hub.monitoring.default_rules import DEFAULT_RULES
from central_hub.monitoring.infrastructure_yaml import WrongInfrastructure, read_infrastructure
from central_hub.settings import process_environment

InfrastructureFile = Annotated[Path, typer.Argument(metavar="FILE", help="An infrastructure.yaml.")]


def validate(session: Session, file: InfrastructureFile) -> None:
    """Say whether a hub would take an infrastructure.yaml, and if not, all that is wrong with it by line and column.

    Asks no hub. Variables that the file names must be set here as they are for the hub; what credentials are does not
    matter.
    """
    try:
        found = read_infrastructure(file.read_bytes(), process_environment(), DEFAULT_RULES)
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
