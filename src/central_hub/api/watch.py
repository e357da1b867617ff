"""The watch of configurations: the current state first, then every change, and bookmarks in between."""

import orjson

from central_hub.api.event_stream import EventStream
from central_hub.config.snapshot import Representation
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService
from central_hub_client.wire import HUB_REVISION, Position


class WatchStream(EventStream):
    """The answer to `GET /config/watch`."""

    def __init__(
        self, hub: CentralHubService, grant: Grant, services: frozenset[str], environment: str, after: Position | None
    ) -> None:
        super().__init__(hub, grant, hub.tail.feed.waiters, services)
        snapshot = hub.tail.snapshot
        self.headers[HUB_REVISION] = str(snapshot.position)
        self._environment = environment
        self._sent = after
        self._history = (snapshot.hub_id, snapshot.epoch if after is None else after.epoch)

    def next_part(self) -> bytes | None:
        """What is new since the last part, as one batch; a bookmark where nothing is."""
        snapshot = self._hub.tail.snapshot
        if (snapshot.hub_id, snapshot.epoch) != self._history:
            return None  # what was told may be lost: whoever resumes is answered 410 and knows it
        found = (snapshot.find(service, self._environment) for service in self._services)
        newer = [
            representation
            for representation in found
            if representation is not None and (self._sent is None or representation.object.position > self._sent)
        ]
        self._sent = snapshot.position
        if not newer:
            return b"event: bookmark\ndata: " + orjson.dumps(snapshot.bookmark.to_json()) + b"\n\n"
        newer.sort(key=lambda representation: (representation.revision, representation.object.service))
        last = len(newer) - 1
        return b"".join(_event(representation, is_last=index == last) for index, representation in enumerate(newer))


def _event(representation: Representation, *, is_last: bool) -> bytes:
    # Only the last event of a batch carries an id: who resumes after an id has seen every commit up to it whole.
    identity = f"id: {representation.object.position}\n".encode() if is_last else b""
    return b"event: config\n" + identity + b"data: " + representation.body + b"\n\n"
