"""The file of a backup: lines of JSON, compressed with gzip.

    {"central_hub_backup": 1, "schema_version": "0003", "hub_id": …, "epoch": 1, "revision": 42, "audit_head": …, …}
    {"hub_state": {…}}
    {"config_audit_log": {…}, "config_contents": {…}}
    …
    {"end": {"lines": 97, "sha256": "…"}}

The first line says what it is a backup of. Every other one holds rows by their table, as PostgreSQL gives them out as
JSON; an audit row comes together with its content and with its redaction, so that the chain is verified in one reading.
The last line counts the lines before it and has their hash: a file without it was cut off.
"""

import contextlib
import gzip
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from central_hub_client.wire import Position

FORMAT: Final = 1
_FORMAT_KEY: Final = "central_hub_backup"
_END_KEY: Final = "end"
# A document is 1 MiB at most, and as text within JSON within JSON it grows; what is longer was not written by a hub.
_LONGEST_LINE: Final = 64 * 1024 * 1024
_COMPRESSION: Final = 6

Row = dict[str, Any]
Progress = Callable[[float], None]
"""Is told how much of the work is done, from 0 to 1."""


class WrongBackup(ValueError):
    """The file cannot be restored from. The message is for people."""


class NotWritten(Exception):
    """The file of the backup could not be written. The message is for people."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of: the first line."""

    schema_version: str
    program_version: str
    taken_at: str
    hub_id: str
    epoch: int
    revision: int
    audit_head: str

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.revision)

    @property
    def anchor(self) -> str:
        """What to write down outside: `1.42:sha256:…`."""
        return f"{self.position}:{self.audit_head}"


class ArchiveWriter:
    """A new backup, for its owner alone, which is removed at the end of a `with` unless it was kept under a name."""

    def __init__(self, directory: Path) -> None:
        """Raises NotWritten, as every method does."""
        self.lines = 0
        self._hash = hashlib.sha256()
        self._directory = directory
        self._unfinished = directory / f".central-hub-backup.{secrets.token_hex(4)}"
        with _writing(directory):
            descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._compressed = gzip.GzipFile("", "wb", _COMPRESSION, self._file, mtime=0)

    def __enter__(self) -> "ArchiveWriter":
        return self

    def __exit__(self, *_: object) -> None:
        # What is still to be written, to a disk that may be full, is not wanted any more.
        with contextlib.suppress(OSError):
            self._file.close()
        self._unfinished.unlink(missing_ok=True)

    def begin(self, manifest: Manifest) -> None:
        self._write(json.dumps({_FORMAT_KEY: FORMAT, **asdict(manifest)}, ensure_ascii=False))

    def add(self, rows: Mapping[str, str]) -> None:
        """Rows that belong together: by their table, each as JSON text."""
        self._write("{" + ",".join(f"{json.dumps(table)}:{row}" for table, row in rows.items()) + "}")

    def end(self, path: Path) -> None:
        """Put it on the disk, and give it the name that it keeps. A file that has that name already stays."""
        self._write(json.dumps({_END_KEY: {"lines": self.lines, "sha256": self._hash.hexdigest()}}))
        with _writing(path):
            self._compressed.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            if path.exists():
                raise NotWritten(f"{path} is there already: name a new file")
            self._unfinished.rename(path)
            _sync(self._directory)

    def _write(self, text: str) -> None:
        line = text.encode() + b"\n"
        self._hash.update(line)
        with _writing(self._directory):
            self._compressed.write(line)
        self.lines += 1


class Archive:
    """A backup to read, as often as needed. `digest` is known once it was read to its end."""

    def __init__(self, path: Path, *, on_progress: Progress = lambda _: None) -> None:
        self.path = path
        self.on_progress = on_progress
        self.digest: str | None = None

    def manifest(self) -> Manifest:
        """What it is a backup of. Raises WrongBackup, OSError."""
        with self._open() as lines:
            return self._manifest(next(lines, b""))

    def rows(self) -> Iterator[dict[str, Row]]:
        """Rows that belong together, by their table. Raises WrongBackup at the latest when they end, OSError."""
        digest = hashlib.sha256()
        count = 0
        with self._open() as lines:
            for line in lines:
                value = self._parse(line)
                if count == 0:
                    self._manifest(line)
                elif _END_KEY in value:
                    if value[_END_KEY] != {"lines": count, "sha256": digest.hexdigest()}:
                        raise WrongBackup(f"{self.path} was altered: its lines are not those that were written")
                    if next(lines, None) is not None:
                        raise WrongBackup(f"{self.path} was altered: it goes on after its end")
                    if self.digest not in (None, digest.hexdigest()):
                        raise WrongBackup(f"{self.path} was replaced while it was read")
                    self.digest = digest.hexdigest()
                    return
                elif not all(isinstance(row, dict) for row in value.values()):
                    raise WrongBackup(f"{self.path}: line {count + 1} does not hold rows")
                else:
                    yield value
                digest.update(line)
                count += 1
        raise WrongBackup(f"{self.path} was cut off: its last line is missing")

    def _manifest(self, line: bytes) -> Manifest:
        value = self._parse(line)
        found = value.pop(_FORMAT_KEY, None)
        if found is None:
            raise WrongBackup(f"{self.path} is no backup of Central Hub")
        if found != FORMAT:
            raise WrongBackup(f"{self.path} is in format {found}, and this version reads format {FORMAT}")
        try:
            manifest = Manifest(**value)
        except TypeError as error:
            raise WrongBackup(f"{self.path} was altered: its first line does not say what it is") from error
        if not all(isinstance(getattr(manifest, name), kind) for name, kind in Manifest.__annotations__.items()):
            raise WrongBackup(f"{self.path} was altered: its first line does not say what it is")
        return manifest

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise WrongBackup(f"{self.path} is no backup of Central Hub, or was altered: a line is no JSON") from error
        if not isinstance(value, dict):
            raise WrongBackup(f"{self.path} is no backup of Central Hub, or was altered: a line is no object")
        return value

    @contextmanager
    def _open(self) -> Iterator[Iterator[bytes]]:
        with self.path.open("rb") as file, gzip.GzipFile(fileobj=file) as compressed:
            try:
                yield self._lines(file, compressed)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise WrongBackup(f"{self.path} is no backup of Central Hub, or was cut off or damaged") from error
            except OSError as error:
                raise WrongBackup(f"{self.path} cannot be read: {error.strerror}") from error

    def _lines(self, file: BinaryIO, compressed: gzip.GzipFile) -> Iterator[bytes]:
        size = max(1, os.fstat(file.fileno()).st_size)
        while line := compressed.readline(_LONGEST_LINE):
            if not line.endswith(b"\n"):
                raise WrongBackup(f"{self.path} was cut off or altered: a line has no end")
            self.on_progress(file.tell() / size)
            yield line


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    # By another name: to whoever has a transaction open, an OSError is a database that went away.
    try:
        yield
    except OSError as error:
        raise NotWritten(f"{place}: the backup cannot be written: {error.strerror}") from error


def _sync(directory: Path) -> None:
    """Make a new name in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
