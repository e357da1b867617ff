"""Anchors of the audit log in a file of their own, one a line."""

import os
from collections.abc import Collection
from pathlib import Path

from central_hub.audit.chain import Anchor
from central_hub.cli.session import ExitCode, Failed
from central_hub_client.wire import Bookmark


def anchors_in(path: Path, *, signed_by: Collection[bytes] | None = None) -> list[Anchor]:
    """The anchors of a file, with `signed_by` each signed by one of these keys. Raises Failed, OSError."""
    # Loading the library for signatures takes longer than asking a hub: only where it is needed.
    from central_hub.audit import anchors

    try:
        return anchors.parse(path.read_text(encoding="utf-8"), signed_by=signed_by)
    except ValueError as error:
        raise Failed(f"{path}: {error}", code=ExitCode.USAGE) from error


class AnchorsKept:
    """A file of anchors, and the key of the hub that signs what is added to it."""

    def __init__(self, path: Path, key_file: Path) -> None:
        self.path = path
        self._key_file = key_file

    def read(self) -> list[Anchor]:
        """Those that are there. Raises Failed."""
        return anchors_in(self.path) if self.path.exists() else []

    def add(self, bookmark: Bookmark) -> None:
        """Put another one on the disk."""
        from central_hub.audit import anchors
        from central_hub.security.signing import SigningKey

        line = anchors.signed(bookmark, SigningKey.load_or_create(self._key_file))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
