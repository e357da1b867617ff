"""What one replica has learnt of the fleet before the others, and has not announced yet. Pure."""

from collections.abc import Collection

from central_hub.coordination.changes import Changes
from central_hub.storage.instance_values import Key


class News:
    """The instances whose change is this replica's to announce.

    What it reads in the store it has from another replica, which announces it. That a lease ran out every replica
    sees for itself.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._seen = 0
        self._waiting: dict[str, set[Key]] = {}

    @property
    def services(self) -> Collection[str]:
        """Those of which there is something to announce."""
        return self._waiting.keys()

    def add(self, key: Key) -> None:
        """This replica was told so itself, even where it has already read of it in the store."""
        self._waiting.setdefault(key[0], set()).add(key)

    def gather(self) -> None:
        """Whatever has changed by now is news."""
        for service in self._changes.services_since(self._seen):
            self._waiting.setdefault(service, set()).update(self._changes.since(service, self._seen))
        self._seen = self._changes.last

    def skip(self) -> None:
        """Whatever has changed since the last look is known from the store."""
        self._seen = self._changes.last

    def take(self, service: str) -> list[Key]:
        """What there is to announce of a service, by environment and name. It is not kept."""
        return sorted(self._waiting.pop(service, ()))
