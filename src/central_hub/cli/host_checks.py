"""What a hub needs of the machine that it runs on: files, room, a port, its servers."""

import asyncio
import shutil
import socket
import stat
import sys
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from central_hub.cli.checks import Check
from central_hub.errors import StartupRefused, StoreUnavailable
from central_hub.settings import HubSettings

LEAST_FREE_BYTES: Final = 512 * 1024 * 1024
ANSWER_SECONDS: Final = 3.0
_SECRET_SUFFIXES: Final = (".token", ".key", ".url")


def check_versions() -> list[Check]:
    """The Python and the two distributions, which are released together."""
    python = ".".join(map(str, sys.version_info[:3]))
    hub, client = metadata.version("central-hub"), metadata.version("central-hub-client")
    return [
        Check("Python", sys.version_info >= (3, 11), python, "Central Hub needs Python 3.11 or newer"),
        Check(
            "versions",
            hub == client,
            f"central-hub {hub}, central-hub-client {client}",
            f"pip install 'central-hub=={hub}' brings the client that belongs to it",
        ),
    ]


def check_own_servers(*, are_needed: bool) -> Check:
    """The programs that `up` starts. A machine that only asks a hub, or serves on other servers, runs without."""
    from central_hub.embedded import binaries

    try:
        binaries.find_postgres()
        binaries.find_nats_server()
    except StartupRefused as error:
        sentence, _, remedy = str(error).partition(": ")
        if are_needed:
            return Check("servers for `up`", False, sentence, remedy)
        return Check("servers for `up`", True, f"{sentence}; only `central-hub up` needs it")
    return Check("servers for `up`", True, f"PostgreSQL {binaries.POSTGRES_MAJOR} and NATS are installed")


def check_data_directory(directory: Path) -> list[Check]:
    """Its permissions, and room in it."""
    if not directory.is_dir():
        return [Check("data directory", True, f"{directory} is not there: the first `central-hub up` makes it")]
    mode = stat.S_IMODE(directory.stat().st_mode)
    # Others may pass through at most: that is how the servers reach their files where the hub is root.
    checks = [Check("data directory", mode & 0o066 == 0, f"{directory}, mode {mode:04o}", f"chmod 700 {directory}")]
    try:
        files = [path for path in sorted(directory.iterdir()) if path.suffix in _SECRET_SUFFIXES]
    except PermissionError:
        return [*checks, Check("files with secrets", True, f"{directory} belongs to another user")]
    loose = " ".join(str(path) for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077)
    checks.append(
        Check(
            "files with secrets",
            not loose,
            f"others may read {loose}" if loose else f"{len(files)}, for their owner alone",
            f"chmod 600 {loose}",
        )
    )
    free = shutil.disk_usage(directory).free
    room = f"{free / 2**30:.1f} GiB free"
    checks.append(Check("disk", free >= LEAST_FREE_BYTES, room, "make room: PostgreSQL stops when the disk is full"))
    return checks


def check_port(settings: HubSettings) -> Check:
    """Whether a hub could listen where it is told to. Asked only where none answers."""
    place = f"{settings.host} port {settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            remedy = "stop what uses it, or choose another with --port or CENTRAL_HUB_PORT"
            return Check("port", False, f"{place}: {error.strerror}", remedy)
    return Check("port", True, f"{place} is free")


async def check_postgres(url: str) -> list[Check]:
    """PostgreSQL as the role that runs: reached, migrated, durable, and unable to rewrite the log."""
    from central_hub.connections.database import Database
    from central_hub.storage import schema, server
    from central_hub.storage.tables import SCHEMA_VERSION

    try:
        database = Database(url, pool_size=1)
    except StartupRefused as error:
        return [Check("PostgreSQL from here", False, str(error), "correct CENTRAL_HUB_DATABASE_URL")]
    try:
        async with database.reading() as connection:
            version = await schema.version(connection)
            if version is None:
                return [
                    Check("PostgreSQL from here", False, "reached, but it holds no tables", "run `central-hub migrate`")
                ]
            may_alter = await schema.can_alter_audit(connection)
            flaws = await server.durability_flaws(connection)
    except StoreUnavailable as error:
        return [
            Check(
                "PostgreSQL from here", False, error.detail, "is it running, and does CENTRAL_HUB_DATABASE_URL name it?"
            )
        ]
    finally:
        await database.close()
    return [
        Check("PostgreSQL from here", True, "reached as the role that runs"),
        Check("tables", version == SCHEMA_VERSION, f"at version {version}", "run `central-hub migrate`"),
        Check(
            "rights",
            not may_alter,
            "this role could rewrite the audit log" if may_alter else "this role cannot rewrite the audit log",
            "give the hub a role of its own, and run `central-hub migrate` as the owner of the tables",
        ),
        Check(
            "durability",
            not flaws,
            ", ".join(flaws) or "acknowledged changes survive a crash",
            "mend that in postgresql.conf; CENTRAL_HUB_DURABILITY=provider where a managed database hides its settings",
        ),
    ]


async def check_nats(urls: str) -> list[Check]:
    """Whether every NATS server that is named greets who connects. Credentials are the hub's to try."""
    return [await _greeted(url.strip()) for url in urls.split(",") if url.strip()]


async def _greeted(url: str) -> Check:
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    place = f"{parts.hostname}:{parts.port or 4222}"  # without the credentials that a URL may hold
    remedy = "is NATS running, and does CENTRAL_HUB_NATS_URL name it? Events and polling go on without it"
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 4222)
            greeting = await reader.readline()
            writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        return Check("NATS from here", False, f"{place} does not answer ({type(error).__name__})", remedy)
    return Check("NATS from here", greeting.startswith(b"INFO "), f"{place} answers", remedy)
