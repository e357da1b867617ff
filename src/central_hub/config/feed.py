"""Tell of changes: wake the watchers of a service, and everybody who waits for the snapshot to move."""

import asyncio
from collections.abc import Callable, Mapping

from central_hub.config.snapshot import Key, Representation, Snapshot
from central_hub.waiters import Waiters

Listener = Callable[[Snapshot, Mapping[Key, Representation]], None]


class ChangeFeed:
    """Tells of every snapshot, once it is the current one. Waiters read the snapshot themselves: nothing queues up."""

    def __init__(self) -> None:
        self.waiters = Waiters()
        self._moved = asyncio.Event()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every new snapshot and the representations that it altered."""
        self._listeners.append(listener)

    def moved(self) -> asyncio.Event:
        """An event that is set when the snapshot moves next."""
        return self._moved

    def publish(self, snapshot: Snapshot, changed: Mapping[Key, Representation]) -> None:
        """Called with the snapshot that has just become the current one."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for service in {service for service, _ in changed}:
            self.waiters.wake(service)
        for listener in self._listeners:
            listener(snapshot, changed)
