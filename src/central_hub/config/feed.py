"""Wake whoever waits for changes: watchers by service, and everybody who waits for the snapshot to move."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from central_hub.config.snapshot import Key, Representation, Snapshot

Listener = Callable[[Snapshot, Mapping[Key, Representation]], None]


class ChangeFeed:
    """Tells of every snapshot, once it is the current one. Waiters read the snapshot themselves: nothing queues up."""

    def __init__(self) -> None:
        self._moved = asyncio.Event()
        self._by_service: dict[str, set[asyncio.Event]] = {}
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every new snapshot and the representations that it altered."""
        self._listeners.append(listener)

    def moved(self) -> asyncio.Event:
        """An event that is set when the snapshot moves next."""
        return self._moved

    @contextmanager
    def waiting_for(self, services: frozenset[str]) -> Iterator[asyncio.Event]:
        """An event that is set whenever one of the services changes; the waiter clears it."""
        event = asyncio.Event()
        for service in services:
            self._by_service.setdefault(service, set()).add(event)
        try:
            yield event
        finally:
            for service in services:
                waiters = self._by_service[service]
                waiters.discard(event)
                if not waiters:
                    del self._by_service[service]

    def wake_all(self) -> None:
        """Let every waiter look again: its token may have been revoked, or the hub may be draining."""
        for events in self._by_service.values():
            for event in events:
                event.set()

    def publish(self, snapshot: Snapshot, changed: Mapping[Key, Representation]) -> None:
        """Called with the snapshot that has just become the current one."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for service in {service for service, _ in changed}:
            for event in self._by_service.get(service, ()):
                event.set()
        for listener in self._listeners:
            listener(snapshot, changed)
