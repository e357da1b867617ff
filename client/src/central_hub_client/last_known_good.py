"""The last configurations that were good, as files: what a service starts from when nobody answers. They never expire.

A generation is one checked file, so that a crash at any byte leaves the older ones whole. A directory belongs to one
process, held by a lock that the kernel drops with the process.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from central_hub_client import checked_file
from central_hub_client.wire import ConfigObject

try:
    import fcntl
except ImportError:  # Windows has no flock: there nothing is written, rather than written by two
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("central_hub_client")

GENERATIONS: Final = 3
MAX_PROCESSES: Final = 64
SIBLINGS: Final = 3

_PREFIX: Final = "generation-"
_SUFFIX: Final = ".json"
_KEYS_FILE: Final = "keys.json"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A configuration from disk. `confirmed_at` is when it was last known to be current (seconds since the epoch)."""

    object: ConfigObject
    confirmed_at: float


class LastKnownGood:
    """The generations of one (service, environment) for one process. Every method blocks: call them in a thread.

    A directory that cannot be written (read-only, full, foreign) makes this remember nothing new; it never raises.
    """

    def __init__(self, cache_dir: Path | None, service: str, environment: str, instance_id: str | None) -> None:
        self._parent = None if cache_dir is None else cache_dir / service / environment
        self._name = file_name(instance_id or "instance")
        self._lock: IO[bytes] | None = None
        self._writing = threading.Lock()
        self._newest = 0
        self._written: ConfigObject | None = None
        self.slot = 0
        """Which of this machine's processes for the service this is, from 1; 0 where nothing could be locked."""

    @property
    def directory(self) -> Path | None:
        """The directory held by this process, None where it holds none."""
        return None if self._parent is None or self._lock is None else self._parent / self._directory_name(self.slot)

    def open(self) -> None:
        """Take the first directory that no living process holds."""
        if self._parent is None or fcntl is None:
            return
        with self._writing:  # what is saved meanwhile must come after the generations that are there
            self._open(self._parent)

    def _open(self, parent: Path) -> None:
        try:
            for slot in range(1, MAX_PROCESSES + 1):
                directory = parent / self._directory_name(slot)
                if checked_file.make_private(directory) and (lock := _lock(directory / "lock")) is not None:
                    self._lock, self.slot = lock, slot
                    self._newest = max(map(_number, _generations(directory)), default=0)
                    for leftover in directory.glob(checked_file.LEFTOVERS):
                        leftover.unlink()
                    return
            logger.warning("last-known-good not kept: %s has %d living processes", parent, MAX_PROCESSES)
        except OSError as error:
            logger.warning("last-known-good not kept: %s", error)

    def close(self) -> None:
        with self._writing:
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def let_go(self) -> None:
        """In a forked process: leave the directory to the parent, whose lock lives while any copy of it is open."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def candidates(self) -> Iterator[Remembered]:
        """What is whole, the best to start from first: the newest, and a sibling's where it is ahead, since all are
        sent the same. Files are read as they are asked for."""
        if self._parent is None:
            return
        own = self._parent / self._directory_name(max(self.slot, 1))
        siblings = [path for path in _directories_by_age(self._parent)[:SIBLINGS] if path != own]
        unread = [self._whole(directory) for directory in (own, *siblings)]
        heads = [next(generations, None) for generations in unread]
        while (best := _best(heads)) is not None:
            chosen = heads.index(best)
            heads[chosen] = next(unread[chosen], None)
            yield best

    def save(self, remembered: Remembered) -> None:
        """Keep this as the newest generation, and the two before it; only note its age where it is there already."""
        with self._writing:
            self._save(remembered)

    def _save(self, remembered: Remembered) -> None:
        directory = self.directory
        if directory is None:
            return
        times = (remembered.confirmed_at, remembered.confirmed_at)
        try:
            if remembered.object == self._written:
                os.utime(_generation(directory, self._newest), times)
                return
            path = _generation(directory, self._newest + 1)
            checked_file.write(path, remembered.object.to_json())
            self._newest, self._written = self._newest + 1, remembered.object
            os.utime(path, times)
            for outdated in _generations(directory)[GENERATIONS:]:
                outdated.unlink()
        except OSError as error:
            logger.warning("last-known-good not written, the older stay: %s", error)

    def save_keys(self, hub_url: str, keys: tuple[bytes, ...]) -> None:
        """Keep the signing keys learnt from this hub."""
        with self._writing:
            if self.directory is None:
                return
            try:
                checked_file.write(
                    self.directory / _KEYS_FILE, {"hub_url": hub_url, "keys": [key.hex() for key in keys]}
                )
            except OSError as error:
                logger.warning("signing keys not remembered: %s", error)

    def load_keys(self, hub_url: str) -> tuple[bytes, ...]:
        """The keys remembered from this hub. A directory without a lock is only read, which is safe."""
        if self._parent is None:
            return ()

        def keys(content: Any, _: float) -> tuple[bytes, ...]:
            return tuple(bytes.fromhex(key) for key in content["keys"]) if content["hub_url"] == hub_url else ()

        return checked_file.read(self._parent / self._directory_name(max(self.slot, 1)) / _KEYS_FILE, keys) or ()

    def _directory_name(self, slot: int) -> str:
        return self._name if slot == 1 else f"{self._name}~{slot}"

    def _whole(self, directory: Path) -> Iterator[Remembered]:
        """Newest first."""
        for path in _generations(directory):
            if (remembered := checked_file.read(path, self._remembered)) is not None:
                if directory == self.directory and _number(path) == self._newest:
                    self._written = remembered.object
                yield remembered

    def _remembered(self, content: Any, written_at: float) -> Remembered:
        received = ConfigObject.from_json(content)
        if self._parent is None or (received.service, received.environment) != (
            self._parent.parent.name,
            self._parent.name,
        ):
            raise ValueError("it is of another service or environment")
        return Remembered(received, written_at)


def _best(heads: Sequence[Remembered | None]) -> Remembered | None:
    """Of what this process and its siblings left: only of one hub the positions can be compared."""
    own = heads[0]
    found = [head for head in heads if head is not None]
    if own is None:
        return max(found, key=lambda head: head.confirmed_at, default=None)
    return max(
        (head for head in found if head.object.hub_id == own.object.hub_id), key=lambda head: head.object.position
    )


def file_name(instance_id: str) -> str:
    """A directory name for an instance: its id where that is harmless, else a digest of it."""
    harmless = instance_id.replace("-", "").replace("_", "").replace(".", "")
    if harmless.isascii() and harmless.isalnum() and len(instance_id) <= 100 and not instance_id.startswith("."):
        return instance_id
    return "id-" + hashlib.sha256(instance_id.encode(errors="replace")).hexdigest()[:32]


def _lock(path: Path) -> IO[bytes] | None:
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | checked_file.NO_FOLLOW, 0o600), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file


def _directories_by_age(parent: Path) -> list[Path]:
    """Last written to first."""
    try:
        found = [
            (entry.stat(follow_symlinks=False).st_mtime, Path(entry)) for entry in os.scandir(parent) if entry.is_dir()
        ]
    except OSError:  # nothing was ever kept here
        return []
    return [path for _, path in sorted(found, reverse=True)]


def _generations(directory: Path) -> list[Path]:
    """Newest first."""
    return sorted((path for path in directory.glob(f"{_PREFIX}*{_SUFFIX}") if _number(path)), key=_number)[::-1]


def _generation(directory: Path, number: int) -> Path:
    return directory / f"{_PREFIX}{number:012}{_SUFFIX}"


def _number(path: Path) -> int:
    digits = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else 0
