"""The program `central-hub`: all commands together."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from central_hub.cli import (
    alerts,
    applying,
    auditing,
    backups,
    contracts,
    diagnosing,
    discovering,
    draining,
    editing,
    exporting,
    fleet,
    following,
    graphing,
    infra,
    promoting,
    reading,
    reverting,
    running,
    schemas,
    searching,
    service_health,
    tokens,
    top,
    writing,
)
from central_hub.cli.session import Common, Json, TokenFile, Url

# Only here from the environment: after the command's name it would win over what was said before it.
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="CENTRAL_HUB_DATA_DIR", help="The data directory of the hub.", metavar="DIR"),
]

app = typer.Typer(
    name="central-hub",
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A traceback with the values of variables may show a token.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (
    running,
    reading,
    searching,
    fleet,
    service_health,
    infra,
    graphing,
    alerts,
    discovering,
    draining,
    top,
    following,
    writing,
    editing,
    applying,
    exporting,
    promoting,
    reverting,
    schemas,
    contracts,
    tokens,
    auditing,
    backups,
    diagnosing,
):
    module.register(app)


@app.callback(
    help="Operational configuration for a fleet of services.\n\n"
    "Finds the hub by --url or CENTRAL_HUB_URL, else by the data directory of the hub on this machine; the token by"
    " --token-file or CENTRAL_HUB_TOKEN, else in that data directory.",
    epilog="Exit codes: 0 done, 1 refused by the hub, 2 wrong usage, 3 unreachable.",
)
def options(
    context: typer.Context,
    as_json: Json = False,
    url: Url = None,
    token_file: TokenFile = None,
    data_dir: DataDir = None,
) -> None:
    context.obj = Common(as_json, url, token_file, data_dir)


def main() -> None:
    """Run the command line. What stands in `sys.argv` decides."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:  # a full disk behind the output; everything else was told where it happened
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not tried again at the exit
        sys.exit(f"the output cannot be written: {error.strerror}")
