"""`alerts`: what is amiss, and who is told."""

import typer

from central_hub.cli import notifications
from central_hub.cli.options import READING
from central_hub.cli.session import group


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    alerts = group(app, READING, "alerts", "See what could not be told of alerts, and have it sent again.")
    notifications.register(alerts)
