"""Configuration files: `<environment>`, `<service>` and `default`, as `.json`, `.yaml`, `.yml` or `.toml`."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from central_hub_client import strict_json
from central_hub_client.sources import (
    DEFAULT_FILE_PRIORITY,
    ENVIRONMENT_FILE_PRIORITY,
    SERVICE_FILE_PRIORITY,
    Loaded,
    SourceFailed,
)
from central_hub_client.sources.json_text import read_json
from central_hub_client.sources.toml_text import read_toml
from central_hub_client.strict_yaml import read_yaml

logger = logging.getLogger("central_hub_client")

MAX_FILE_BYTES: Final = 4 * 1024 * 1024

READERS: Final[Mapping[str, Callable[[bytes], tuple[Any, dict[str, int]]]]] = {
    ".json": read_json,
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".toml": read_toml,
}
"""By suffix, best first: of `default.json` and `default.yaml` the former counts."""


class FileSource:
    """One file in any of the formats. It may come, go and be replaced while the service runs."""

    def __init__(self, directory: Path, stem: str) -> None:
        self.name = str(directory / stem)
        self._paths = [directory / f"{stem}{suffix}" for suffix in READERS]

    def load(self) -> Loaded:
        """Raises SourceFailed. No file is no values."""
        found = [path for path in self._paths if path.is_file()]
        if not found:
            return Loaded({})
        if len(found) > 1:
            logger.warning("%s counts, %s beside it does not", found[0], ", ".join(path.name for path in found[1:]))
        return read_file(found[0])

    def fingerprint(self) -> object:
        return tuple(map(fingerprint_of, self._paths))


def files_of(service: str, environment: str, directory: Path) -> list[tuple[int, FileSource]]:
    """The files that count for a service, each with its priority; one that has two roles counts with the higher."""
    stems = {"default": DEFAULT_FILE_PRIORITY, service: SERVICE_FILE_PRIORITY}
    if environment != "default":
        stems[environment] = ENVIRONMENT_FILE_PRIORITY
    return [(priority, FileSource(directory, stem)) for stem, priority in stems.items()]


def read_file(path: Path) -> Loaded:
    """The values of one file, with the line of each key. Raises SourceFailed."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES // 1024 // 1024} MiB")
        values, lines = READERS[path.suffix](content)
        if not isinstance(values, dict):
            raise ValueError("the whole must be one object")
        strict_json.check_limits(values)
    except (OSError, ValueError, ImportError) as error:
        raise SourceFailed(f"{path}: {error}") from error
    return Loaded(values, {pointer: f"{path}:{line}" for pointer, line in lines.items()})


def fingerprint_of(path: Path) -> object:
    """Differs once the file behind `path` is another one or was written to.

    It follows links: a mounted ConfigMap changes by a link that points somewhere else, which a watch of the file
    itself does not see.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, every second
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
