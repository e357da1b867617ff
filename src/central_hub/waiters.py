"""Whoever waits for changes of services: woken when there is something to look at, handed nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Waiters:
    """The waiting events by service. Waiters look for themselves what is new: nothing queues up for them."""

    def __init__(self) -> None:
        self._by_service: dict[str, set[asyncio.Event]] = {}

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
                waiting = self._by_service[service]
                waiting.discard(event)
                if not waiting:
                    del self._by_service[service]

    def wake(self, service: str) -> None:
        """The service has changed."""
        for event in self._by_service.get(service, ()):
            event.set()

    def wake_all(self) -> None:
        """Let every waiter look again: its token may have been revoked, or the hub may be draining."""
        for service in self._by_service:
            self.wake(service)
