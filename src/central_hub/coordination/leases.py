"""When each lease has to be looked at next. Pure."""

import heapq
from collections.abc import Iterator
from datetime import datetime

from central_hub.storage.instance_values import Key


class LeaseQueue:
    """Instances by a moment before which nothing happens to them by itself.

    A heartbeat costs nothing here: an entry that comes too early is looked at, and put back for later.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, Key]] = []
        self._next: dict[Key, datetime] = {}

    def schedule(self, key: Key, at: datetime) -> None:
        """Look at it then, or earlier where that was said before."""
        known = self._next.get(key)
        if known is None or at < known:
            self._next[key] = at
            heapq.heappush(self._heap, (at, key))

    def due(self, now: datetime) -> Iterator[Key]:
        """Those whose moment has come, each once; they are no longer scheduled."""
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._next.get(key) == at:
                del self._next[key]
                yield key
