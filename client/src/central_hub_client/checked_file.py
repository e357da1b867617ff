"""JSON in a file that is either whole or not used: `<64 hex digits of SHA-256>\\n<JSON>`.

It is written beside, flushed and renamed into place, so that a crash at any byte leaves what was there before; the
checksum finds every other damage. Every function blocks.
"""

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

logger = logging.getLogger("central_hub_client")

MAX_FILE_BYTES: Final = 8 * 1024 * 1024
LEFTOVERS: Final = "*.tmp"
"""What a crash may leave beside."""
NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)

_DIGEST_CHARACTERS: Final = 64

T = TypeVar("T")


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace what is at `path`. Raises OSError; then that stays."""
    payload = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_FOLLOW, 0o600), "wb") as file:
            file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    # Without this the rename itself may be lost with the power.
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path, interpret: Callable[[Any, float], T]) -> T | None:
    """What `interpret` makes of the content and of the time of the last writing. None if the file is missing, damaged,
    foreign, or not what it can use."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | NO_FOLLOW), "rb") as file:
            found = os.fstat(file.fileno())
            if not _is_ours(found) or found.st_size > MAX_FILE_BYTES:
                raise ValueError("it belongs to somebody else, or is too large")
            content = file.read()
        payload = content[_DIGEST_CHARACTERS + 1 :]
        if content[: _DIGEST_CHARACTERS + 1] != hashlib.sha256(payload).hexdigest().encode() + b"\n":
            raise ValueError("its checksum is wrong")
        # What was written had been read strictly and its hash checked; the checksum says that it is what was written.
        return interpret(json.loads(payload), found.st_mtime)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is not used: %s", path, error)
        return None


def make_private(directory: Path) -> bool:
    """Make `directory` if need be; False where it belongs to another user. Raises OSError."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and _is_ours(found)


def _is_ours(found: os.stat_result) -> bool:
    # Whoever owns the file decides what this service runs.
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
