"""The account under which the servers run: PostgreSQL refuses to run as root, and nats-server should not."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from central_hub.errors import StartupRefused

CANDIDATES: Final = ("central-hub", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user without supplementary groups."""

    uid: int
    gid: int

    def closed_parent(self, path: Path) -> Path | None:
        """The outermost directory above `path` that this account may not pass through, by its mode bits."""
        for parent in reversed(path.parents):
            if not self._is_granted(parent, stat.S_IXOTH):
                return parent
        return None

    def can_execute(self, path: Path) -> bool:
        return self.closed_parent(path) is None and self._is_granted(path, stat.S_IROTH | stat.S_IXOTH)

    def can_read(self, path: Path) -> bool:
        return self.closed_parent(path) is None and self._is_granted(path, stat.S_IROTH)

    def _is_granted(self, path: Path, bits: int) -> bool:
        status = path.stat()
        if status.st_uid == self.uid:
            bits <<= 6
        elif status.st_gid == self.gid:
            bits <<= 3
        return status.st_mode & bits == bits


def account_for_servers(cluster: Path) -> Account | None:
    """None stands for the account of this process. As root: the owner of an existing cluster, else a user there is."""
    if os.geteuid() != 0:
        return None
    if cluster.is_dir():
        status = cluster.lstat()
        if status.st_uid == 0:
            raise StartupRefused(
                f"{cluster} belongs to root, as whom PostgreSQL does not run: give it back to the account it had, for"
                f" example with `chown -R {CANDIDATES[1]} {cluster} {cluster.with_name('nats')}`"
            )
        return Account(status.st_uid, status.st_gid)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise StartupRefused(
        "PostgreSQL does not run as root, and this system has no user to run it under: create one with"
        f" `useradd --system {CANDIDATES[0]}`, or start the hub as an ordinary user"
    )
