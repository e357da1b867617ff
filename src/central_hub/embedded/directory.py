"""The data directory: who may enter it, who holds it, how its files are written. Nothing outside it is ever changed.

As root it stays root's own: the account of the servers may pass through it to its own subdirectories, but never put
a link in the way of something that root writes.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from central_hub.embedded.account import Account, account_for_servers
from central_hub.errors import StartupRefused
from central_hub.security.files import write_private

PID_FILE: Final = "hub.pid"
# A directory that holds other things but none of these is somebody's home, not ours to close to others.
_LEFT_BY_A_HUB: Final = frozenset({PID_FILE, "admin.token", "signing.key"})
# What `write_private` had not renamed yet when a hub was killed; it may hold a password.
_UNFINISHED_FILES: Final = ".*." + 8 * "[0-9a-f]"
_ON_A_FRESH_VOLUME: Final = frozenset({"lost+found"})


class DataDirectory:
    """Taken before anything else is done and given up after everything has ended. The lock dies with the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.account: Account | None = None
        """The account of the servers, where it is not that of this process."""
        self.was_left_running = False
        """Whether the last hub did not stop by itself, so that its servers may still run."""
        self._lock = -1

    def take(self) -> None:
        """Create the directory where needed and hold it for this process. Raises StartupRefused, OSError."""
        self.path = self.path.absolute()
        if self.path.exists() and not self.path.is_dir():
            raise StartupRefused(f"{self.path} is not a directory: name another one with --data-dir")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = self.path.resolve()
        self._refuse_what_is_not_ours()
        self._take_lock()
        self.account = account_for_servers(self.path / "postgres")
        if self.account is not None:
            self._refuse_unreachable(self.account)
        self.path.chmod(0o700 if self.account is None else 0o711)
        for unfinished in self.path.glob(_UNFINISHED_FILES):
            unfinished.unlink()

    def release(self, *, servers_ended: bool) -> None:
        """Give the directory up. The emptied pid file tells the next hub that no server was left running."""
        if self._lock < 0:
            return
        if servers_ended and not self.was_left_running:
            os.ftruncate(self._lock, 0)
        os.close(self._lock)
        self._lock = -1

    def note_running(self) -> None:
        """Record this process, once what the last one left has ended and before the first server is started."""
        self.was_left_running = False
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def read(self, name: str) -> str:
        """The text of a file, empty where there is none."""
        try:
            return (self.path / name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def write(self, name: str, text: str) -> None:
        """Write a file (0600), whole or not at all, unless it says that already."""
        if self.read(name) != text:
            write_private(self.path / name, text.encode() + b"\n")
            self.sync()

    def write_for_servers(self, name: str, text: str) -> Path:
        """Write a file (0600) that the servers read."""
        path = self.path / name
        write_private(path, text.encode())
        self.give_to_servers(path)
        return path

    def subdirectory(self, name: str) -> Path:
        """A private subdirectory (0700)."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def subdirectory_for_servers(self, name: str) -> Path:
        """A private subdirectory (0700) in which the servers write."""
        path = self.subdirectory(name)
        self.give_to_servers(path)
        return path

    def give_to_servers(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def sync(self) -> None:
        """Make the names in the directory durable."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _refuse_what_is_not_ours(self) -> None:
        names = {entry.name for entry in self.path.iterdir()} - _ON_A_FRESH_VOLUME
        if names and not names & _LEFT_BY_A_HUB:
            raise StartupRefused(
                f"{self.path} is neither empty nor a data directory of Central Hub: name an empty or a new directory"
                " with --data-dir"
            )
        owner = self.path.stat().st_uid
        if owner == os.geteuid():
            return
        if names or os.geteuid() != 0:
            raise StartupRefused(
                f"the data directory {self.path} belongs to the user with id {owner}: start the hub as that user, or"
                " name another directory with --data-dir"
            )
        os.chown(self.path, 0, 0)

    def _refuse_unreachable(self, account: Account) -> None:
        parent = account.closed_parent(self.path)
        if parent is not None:
            raise StartupRefused(
                f"as root, PostgreSQL and NATS run as the user with id {account.uid}, who may not pass through {parent}"
                f" to reach the data directory {self.path}: name one elsewhere with --data-dir, for example"
                f" /var/lib/central-hub, or allow it with `chmod o+x {parent}`"
            )

    def _take_lock(self) -> None:
        lock = os.open(self.path / PID_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_pid(lock) or "not known yet"
            os.close(lock)
            raise StartupRefused(
                f"another hub (pid {holder}) uses the data directory {self.path}: stop it first, or name another"
                " directory with --data-dir"
            ) from None
        self._lock = lock
        self.was_left_running = bool(_read_pid(lock))


def _read_pid(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
