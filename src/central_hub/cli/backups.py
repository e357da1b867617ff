"""`backup` and `restore`: everything that a hub knows in one file, and back into an empty database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from central_hub.cli.auditing import Anchors, parse_anchor
from central_hub.cli.options import GUARDING
from central_hub.cli.running import read_settings
from central_hub.cli.session import ExitCode, Failed, Session, command

if TYPE_CHECKING:
    from central_hub.backup.restore import Verified
    from central_hub.settings import HubSettings

Target = Annotated[
    Path,
    typer.Argument(metavar="FILE|DIR", help="A new file, or an existing directory in which one is named by its time."),
]
Source = Annotated[Path, typer.Argument(metavar="FILE", help="What `central-hub backup` wrote.")]
Check = Annotated[bool, typer.Option("--check", help="Only verify the file; ask no database.", show_default=False)]
AboveEpoch = Annotated[
    int,
    typer.Option(
        "--above-epoch",
        min=0,
        max=2**53,
        metavar="N",
        help="Begin an epoch above this one too: the last one there was, if it is not the backup's.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, GUARDING, is_local=True)(backup)
    command(app, GUARDING, is_local=True)(restore)


def backup(session: Session, target: Target) -> None:
    """Write everything that the hub knows into one file, while it runs.

    The file holds one moment: documents, schemas, the whole history with its audit chain, and what is kept of tokens.
    It is verified before the command ends. Keys and tokens themselves are not in it, but every content is: keep it as
    private as the database.

    Reads the database of CENTRAL_HUB_DATABASE_URL, or of the data directory of a local hub, whether that runs or not.
    """
    from central_hub.backup import dump
    from central_hub.backup.archive import Archive, NotWritten
    from central_hub.backup.restore import FlawedBackup, verify
    from central_hub.connections.database import Database

    async def write() -> Path:
        async with _database_to_read(session) as url:
            database = Database(url, pool_size=1)
            try:
                with session.output.bar("reading the database") as on_progress:
                    return await dump.take(database, target, at=datetime.now(UTC), on_progress=on_progress)
            finally:
                await database.close()

    try:
        path = asyncio.run(write())
    except NotWritten as error:
        raise Failed(str(error)) from error
    with session.output.bar("verifying the file") as on_progress:
        try:
            verified = verify(Archive(path, on_progress=on_progress))
        except FlawedBackup as error:
            raise Failed(
                f"{path} is written, but what the database holds does not verify, and `restore` will refuse it: see"
                " `central-hub audit verify`",
                details=tuple(error.flaws),
                file=str(path),
                flaws=error.flaws,
            ) from error
    if session.output.as_json:
        session.output.json({"file": str(path), **_facts(verified)})
        return
    session.output.text(f"{path} holds revision {verified.manifest.position}: {_amount(verified)}", "bold green")
    session.output.text(f"anchor {verified.manifest.anchor}")
    session.output.note("write the anchor down elsewhere: `restore --anchor` then notices a history written anew")


def restore(
    session: Session, source: Source, anchor: Anchors = None, check: Check = False, above_epoch: AboveEpoch = 0
) -> None:
    """Put a backup into an empty database, with a new epoch: hubs and services follow it, and keep nothing newer.

    The file is verified as a whole first; then everything is restored in one transaction, or nothing. Goes into the
    database of CENTRAL_HUB_MIGRATION_DATABASE_URL, or into a new data directory, where `central-hub up` goes on.

    Where a backup is restored for the second time, name the epoch that the first time began with --above-epoch.
    """
    from central_hub.backup.archive import Archive, WrongBackup
    from central_hub.backup.restore import FlawedBackup, NotEmpty, verify
    from central_hub.backup.restore import restore as load
    from central_hub.connections.database import Database

    anchors = [parse_anchor(text) for text in anchor or []]
    try:
        with session.output.bar("verifying the backup") as on_progress:
            verified = verify(Archive(source, on_progress=on_progress), anchors)
        if check:
            _tell_restored(session, verified, None)
            return
        with session.output.bar("restoring") as on_progress:

            async def put_back() -> Any:
                async with _database_to_fill(session) as database:
                    owner = Database(database.owner_url, pool_size=1)
                    try:
                        verified.archive.on_progress = on_progress
                        role = Database(database.url, pool_size=1).role
                        return await load(owner, verified, running_role=role, above_epoch=above_epoch)
                    finally:
                        await owner.close()

            position = asyncio.run(put_back())
    except FlawedBackup as error:
        raise Failed(f"{source}: {error}", details=tuple(error.flaws), flaws=error.flaws) from error
    except (WrongBackup, NotEmpty) as error:
        raise Failed(str(error)) from error
    _tell_restored(session, verified, position)


@dataclass(frozen=True, slots=True)
class _Urls:
    """A database as the role that runs and as its owner."""

    url: str = field(repr=False)
    owner_url: str = field(repr=False)


@asynccontextmanager
async def _database_to_read(session: Session) -> AsyncIterator[str]:
    """The URL of the database of a hub here; where its own server does not run, it does until the end."""
    from central_hub.connections.database import Database
    from central_hub.errors import StoreUnavailable

    settings = read_settings(session)
    configured = settings.database_url or settings.migration_database_url
    if configured is not None:
        yield configured.get_secret_value()
        return
    if not (settings.data_dir / "postgres").is_dir():
        raise Failed(
            f"there is no hub's data in {settings.data_dir}: name its data directory with --data-dir, or set"
            " CENTRAL_HUB_DATABASE_URL",
            code=ExitCode.USAGE,
        )
    url_file = settings.data_dir / "database.url"
    if url_file.exists():
        url = url_file.read_text(encoding="utf-8").strip()
        database = Database(url, pool_size=1)
        try:
            async with database.reading():
                is_running = True
        except StoreUnavailable:
            is_running = False
        finally:
            await database.close()
        if is_running:
            yield url
            return
    async with _own_servers(settings) as urls:
        yield urls.url


@asynccontextmanager
async def _database_to_fill(session: Session) -> AsyncIterator[_Urls]:
    settings = read_settings(session)
    url, owner_url = settings.database_url, settings.migration_database_url
    if url is not None and owner_url is not None:
        yield _Urls(url.get_secret_value(), owner_url.get_secret_value())
    elif url is not None or owner_url is not None:
        raise Failed(
            "restoring needs both CENTRAL_HUB_MIGRATION_DATABASE_URL (the owner of the tables) and"
            " CENTRAL_HUB_DATABASE_URL (the role that the hub runs as); or neither, and a new data directory",
            code=ExitCode.USAGE,
        )
    else:
        async with _own_servers(settings) as urls:
            yield urls


@asynccontextmanager
async def _own_servers(settings: "HubSettings") -> AsyncIterator[_Urls]:
    """The servers of a data directory, started for a while. Raises StartupRefused where a hub uses them."""
    from central_hub.cli.log_setup import set_up_logging
    from central_hub.embedded import EmbeddedServers

    set_up_logging("warning", settings.log_format)
    servers = EmbeddedServers(settings.data_dir)
    endpoints = await servers.start()
    try:
        yield _Urls(endpoints.database_url, endpoints.migration_database_url)
    finally:
        await servers.stop()


def _tell_restored(session: Session, verified: "Verified", position: Any) -> None:
    output = session.output
    if output.as_json:
        restored = {} if position is None else {"restored_as": str(position)}
        output.json({"file": str(verified.archive.path), **_facts(verified), **restored})
        return
    taken = f"revision {verified.manifest.position}, taken {verified.manifest.taken_at}: {_amount(verified)}"
    if position is None:
        output.text(f"the backup is whole: {taken}", "bold green")
        return
    output.text(f"restored {taken}", "bold green")
    output.text(f"the log goes on after revision {position}, in a new epoch: hubs and services follow it when it runs")
    output.note("tokens are as they were then: what was revoked since must be revoked again (`central-hub token list`)")


def _facts(verified: "Verified") -> dict[str, Any]:
    manifest = verified.manifest
    return {
        "taken_at": manifest.taken_at,
        "hub_id": manifest.hub_id,
        "epoch": manifest.epoch,
        "revision": manifest.revision,
        "anchor": manifest.anchor,
        "documents": verified.documents,
        "entries": verified.entries,
    }


def _amount(verified: "Verified") -> str:
    return f"{verified.documents} documents, {verified.entries} entries in the audit log"
