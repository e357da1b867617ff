"""`infra`: the infrastructure under the services."""

import typer

from central_hub.cli import infrastructure_files
from central_hub.cli.options import READING
from central_hub.cli.session import command, group


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    infra = group(app, READING, "infra", "Look after the infrastructure under the services.")
    command(infra, READING, is_local=True)(infrastructure_files.validate)
