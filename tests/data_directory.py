"""Where embedded servers can keep their data in a test."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def data_directory() -> Iterator[Path]:
    """A path for a data directory that is not there yet, removed afterwards.

    Not pytest's own: those lie in a directory that only its user may enter, and the servers of root are another user.
    """
    parent = Path(tempfile.mkdtemp(prefix="central-hub-test-"))
    parent.chmod(0o711)
    try:
        yield parent / "data"
    finally:
        shutil.rmtree(parent)
