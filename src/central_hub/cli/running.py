"""`up`, `serve`, `migrate`: the commands that are a hub instead of asking one. They load the server when they run."""

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from central_hub.cli.finding import TOKEN_FILE, URL_FILE
from central_hub.cli.options import RUNNING
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub.data_directory import default_data_dir

if TYPE_CHECKING:
    from central_hub.service import CentralHubService
    from central_hub.settings import HubSettings

Port = Annotated[
    int | None,
    typer.Option(
        "--port", min=0, max=65535, metavar="N", help="Port to listen on; 0 takes a free one. [default: 7000]"
    ),
]
Sample = Annotated[
    bool, typer.Option("--sample", help="Load the documents of a sample fleet, those that do not exist yet.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, RUNNING, is_local=True)(up)
    command(app, RUNNING, is_local=True)(serve)
    command(app, RUNNING, is_local=True)(migrate)


def up(session: Session, port: Port = None, sample: Sample = False) -> None:
    """Start a hub with a PostgreSQL and a NATS of its own, in the foreground.

    Everything lies in the data directory: the databases, the admin token (a file that only you may read), the keys.
    Ctrl-C stops it all; the next `up` goes on where it was.
    """
    from central_hub import process

    settings = _settings(session, port)
    if settings.database_url is not None:
        raise Failed(
            "CENTRAL_HUB_DATABASE_URL is set: `central-hub serve` runs on your PostgreSQL, `central-hub up` brings its"
            " own; unset it or use serve",
            code=ExitCode.USAGE,
        )

    async def on_ready(hub: "CentralHubService", url: str) -> None:
        loaded = 0
        if sample:
            from central_hub.cli.sample import load_sample

            loaded = await load_sample(hub)
        noted.write(url)
        _tell(session, settings, url, loaded=loaded if sample else None)

    with _NotedUrl(settings.data_dir) as noted:
        process.run(process.run_embedded(settings, on_ready))


def serve(session: Session, port: Port = None) -> None:
    """Start a hub on your own PostgreSQL and NATS, in the foreground.

    Set CENTRAL_HUB_DATABASE_URL and CENTRAL_HUB_NATS_URL, and run `central-hub migrate` first.
    """
    from central_hub import process

    settings = _settings(session, port)

    async def on_ready(_hub: "CentralHubService", url: str) -> None:
        noted.write(url)
        _tell(session, settings, url)

    with _NotedUrl(settings.data_dir) as noted:
        process.run(process.run_on_own_servers(settings, on_ready))


def migrate(session: Session) -> None:
    """Bring the tables of your PostgreSQL to this version.

    Needs CENTRAL_HUB_MIGRATION_DATABASE_URL (the owner of the tables) and CENTRAL_HUB_DATABASE_URL (the role that the
    hub runs as). A hub that `up` started migrates by itself.
    """
    from central_hub import process

    migrated = asyncio.run(process.migrate(_settings(session, None)))
    if session.output.as_json:
        session.output.json({"migrated": migrated})
    else:
        session.output.text("the tables are at this version now" if migrated else "the tables were at this version")


def read_settings(session: Session, **changes: Any) -> "HubSettings":
    """The settings of a hub here: the environment, and what the command line says over it. Raises Failed."""
    from pydantic import ValidationError

    from central_hub.settings import HubSettings

    if session.data_dir is not None:
        changes["data_dir"] = session.data_dir
    try:
        settings = HubSettings(**changes)
    except ValidationError as error:
        # Without the input: a database URL holds a password.
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        raise Failed(
            "the settings of the hub are not valid",
            code=ExitCode.USAGE,
            details=tuple(
                f"CENTRAL_HUB_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" for problem in problems
            ),
        ) from error
    return settings.model_copy(update={"data_dir": settings.data_dir.expanduser().absolute()})


def _settings(session: Session, port: int | None) -> "HubSettings":
    from central_hub.cli.log_setup import set_up_logging

    settings = read_settings(session, **({} if port is None else {"port": port}))
    set_up_logging(settings.log_level, settings.log_format)
    return settings


class _NotedUrl:
    """The file that tells other commands where this hub listens.

    It goes with the hub, so that no token is sent to whoever takes the port next.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / URL_FILE
        self._text = ""

    def __enter__(self) -> "_NotedUrl":
        return self

    def write(self, url: str) -> None:
        from central_hub.security.files import write_private

        self._text = f"{url}\n"
        write_private(self._path, self._text.encode())

    def __exit__(self, *_: object) -> None:
        # Another hub that shares the directory may have written its own since.
        with contextlib.suppress(OSError):
            if self._text and self._path.read_text(encoding="utf-8") == self._text:
                self._path.unlink()


def _tell(session: Session, settings: "HubSettings", url: str, *, loaded: int | None = None) -> None:
    token_file = settings.admin_token_path
    output = session.output
    if output.as_json:
        answer = {"url": url, "data_dir": str(settings.data_dir), "token_file": str(token_file)}
        output.json(answer if loaded is None else answer | {"loaded": loaded}, indent=None)
        return
    output.text(f"Central Hub listens on {url}", "bold green")
    output.text(f"  data directory  {settings.data_dir}")
    output.text(f"  admin token     in {token_file}")
    if loaded is not None:
        output.text(f"  sample          {loaded} documents loaded" if loaded else "  sample          was there already")
    file = settings.infrastructure_file
    output.text(
        f"  infrastructure  {'none: let CENTRAL_HUB_INFRASTRUCTURE_FILE name its file' if file is None else file}"
    )
    service = "polygon-historical-downloader" if loaded is not None else "my-service"
    options = _how_to_find(settings)
    output.text("Next, in another terminal:")
    # In a checkout that `make up` made ready, the program is in a virtual environment that nobody has activated.
    program = "central-hub" if shutil.which("central-hub") else sys.argv[0]
    output.text(f"  {program} watch {service}{options}")
    output.text(f"  {program} set {service} operational.batch_size=200 -m 'try it'{options}")
    output.text(f"  {program} history {service}{options}")
    if file is not None:
        output.text(f"  {program} infra{options}")
    output.text("Ctrl-C stops it.")


def _how_to_find(settings: "HubSettings") -> str:
    """The option without which the command line would not find this hub and its token."""
    if settings.admin_token_path.parent != settings.data_dir or settings.admin_token_path.name != TOKEN_FILE:
        return f" --token-file {settings.admin_token_path}"
    return "" if settings.data_dir == default_data_dir() else f" --data-dir {settings.data_dir}"
