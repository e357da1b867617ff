"""What streams tell of instances, as bytes: encoded once for all who are told the same at about the same time."""

import time
from collections.abc import Callable
from typing import Any

import orjson

from central_hub.coordination.listing import described, gone
from central_hub.coordination.manager import TURN_SECONDS, CoordinationManager

_Told = tuple[str, str, int | None, int, bool]
"""Service, environment, after which change, up to which change, whether it is stale."""


class InstanceEvents:
    """Events of the fleet. A thousand watchers of a service, up to date with it, are told of a change alike."""

    def __init__(self, coordination: CoordinationManager) -> None:
        self._coordination = coordination
        self._encoded: dict[_Told, bytes] = {}
        self._forget_at = 0.0

    def everything(self, service: str, environment: str) -> bytes:
        """All instances of a service in an environment."""
        return self._once(service, environment, None, lambda: self._everything(service, environment))

    def changed_since(self, service: str, environment: str, number: int) -> bytes:
        """Those that changed after the change of that number, as they are now. It may be none."""
        return self._once(service, environment, number, lambda: self._changed(service, environment, number))

    def _once(self, service: str, environment: str, number: int | None, encode: Callable[[], bytes]) -> bytes:
        # When it was last heard belongs to what is told of an instance, so nothing is told the same for long.
        if (now := time.monotonic()) >= self._forget_at:
            self._encoded.clear()
            self._forget_at = now + TURN_SECONDS
        is_stale = self._coordination.is_stale
        told = (service, environment, number, self._coordination.changes.of_service(service), is_stale)
        found = self._encoded.get(told)
        if found is None:
            found = self._encoded[told] = encode()
        return found

    def _everything(self, service: str, environment: str) -> bytes:
        fleet, as_of = self._coordination.fleet, self._coordination.as_of
        members = fleet.members(service, as_of)
        return event(
            "instances",
            {
                "service": service,
                "environment": environment,
                "instances": [
                    described(member, as_of) for member in members if member.instance.environment == environment
                ],
                "kept": fleet.kept.get((service, environment), 0),
                "stale": self._coordination.is_stale,
            },
        )

    def _changed(self, service: str, environment: str, number: int) -> bytes:
        fleet, as_of = self._coordination.fleet, self._coordination.as_of
        events = []
        for key in fleet.changes.since(service, number):
            if key[1] == environment:
                member = fleet.member(key, as_of)
                events.append(
                    event("gone", gone(key, fleet.generation(key)))
                    if member is None
                    else event("instance", described(member, as_of))
                )
        return b"".join(reversed(events))


def event(name: str, told: Any) -> bytes:
    """One event as it travels."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(told))
