"""Reads files that somebody else names, and nothing but files: a pipe would keep whoever opens it until somebody
writes, and a device would never end."""

import errno
import os
import stat
from pathlib import Path


def read_file(path: Path, largest: int) -> bytes:
    """The first `largest` bytes. Raises OSError, also for what is no file."""
    # Without waiting: of a pipe the open itself would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(descriptor))
        return file.read(largest)


def check_is_file(path: str) -> None:
    """For libraries that open by name. Raises OSError where there is nothing, or no file."""
    _check(Path(path).stat())


def _check(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
