"""The watch of instances: all of them first, then every change, and a bookmark after whatever is told together."""

from central_hub.api.event_stream import EventStream
from central_hub.api.instance_events import InstanceEvents, event
from central_hub.audit.chain import rfc3339
from central_hub.security.tokens import Grant
from central_hub.service import CentralHubService


class InstancesStream(EventStream):
    """The answer to `GET /discovery/watch`. Raises StoreUnavailable until the instances are loaded."""

    def __init__(
        self,
        hub: CentralHubService,
        grant: Grant,
        services: frozenset[str],
        environment: str,
        events: InstanceEvents,
    ) -> None:
        super().__init__(hub, grant, hub.fleet_announcer.waiters, services)
        self._fleet = hub.coordination.fleet
        self._environment = environment
        self._events = events
        self._sent: dict[str, int] = {}

    def next_part(self) -> bytes:
        """Whatever changed since the last part, up to this moment."""
        coordination, changes = self._hub.coordination, self._fleet.changes
        as_of = coordination.as_of
        self._fleet.advance(as_of)
        # Taken before anything is told: time passes meanwhile, and what changes by that is told once more.
        upcoming = {service: changes.of_service(service) for service in sorted(self._services)}
        told = [self._of_service(service) for service in upcoming]
        self._sent = upcoming
        told.append(event("bookmark", {"as_of": rfc3339(as_of), "stale": coordination.is_stale}))
        return b"".join(told)

    def _of_service(self, service: str) -> bytes:
        sent = self._sent.get(service)
        if sent is None or not self._fleet.changes.reaches(service, sent):
            return self._events.everything(service, self._environment)
        if self._fleet.changes.of_service(service) == sent:
            return b""
        return self._events.changed_since(service, self._environment, sent)
