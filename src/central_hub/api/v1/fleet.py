"""Instances and their convergence, as they are told. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from central_hub.api.v1.queries import InstancesQuery
from central_hub.audit.chain import rfc3339
from central_hub.coordination.convergence import Convergence, Delivery
from central_hub.coordination.fleet import Fleet, Member, Place
from central_hub.coordination.listing import described
from central_hub.security.tokens import Grant
from central_hub.storage.instance_values import Instance
from central_hub_client.strict_json import canonical
from central_hub_client.wire import Position

_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class InstancePage:
    """Some instances in order, where the next page begins, and where instances are kept as they were last known."""

    members: tuple[Member, ...]
    next: str | None
    kept: Mapping[Place, int]
    now: datetime

    @classmethod
    def of(
        cls, fleet: Fleet, services: Sequence[str], grant: Grant, query: InstancesQuery, now: datetime
    ) -> "InstancePage":
        """The instances that the filters let through and the token covers, after `query.after`."""
        found: list[Member] = []
        for member in _after(fleet, services, query.after, now):
            if len(found) > query.limit:
                break
            if _fits(member, query) and grant.covers(*member.instance.key[:2]):
                found.append(member)
        page = tuple(found[: query.limit])
        kept = {place: count for place, count in fleet.kept.items() if place[0] in services and grant.covers(*place)}
        return cls(page, _cursor(page[-1].instance) if len(found) > len(page) else None, kept, now)

    def to_json(self) -> dict[str, Any]:
        return {
            "instances": [described(member, self.now) for member in self.members],
            "next": self.next,
            "kept": [
                {"service": service, "environment": environment, "instances": count}
                for (service, environment), count in sorted(self.kept.items())
            ],
        }


def renewal(instance: Instance) -> dict[str, Any]:
    """What an instance is answered to its heartbeat."""
    return {"lease_seconds": instance.lease_seconds, "drain": instance.drain is not None}


def told(
    convergence: Convergence, service: str, environment: str, target: Position | None, instances: Sequence[bytes]
) -> dict[str, Any]:
    """How far a revision of a configuration has got, for orjson. `instances` are the parts of `written`."""
    return {
        "service": service,
        "environment": environment,
        "epoch": None if target is None else target.epoch,
        "revision": None if target is None else target.revision,
        "instances": orjson.Fragment(b"[%s]" % b",".join(instances)),
        "states": {str(standing): count for standing, count in convergence.counts.items()},
        "converged": convergence.converged,
    }


def written(deliveries: Sequence[Delivery], shared: frozenset[str]) -> Iterator[bytes]:
    """The elements of a JSON array, some at a time: thousands take a while, and kept as objects they would have the
    garbage collector stop everything.

    `shared` keys are for the whole fleet: that one service has no use for one of them is nothing to tell.
    """
    for start in range(0, len(deliveries), _AT_ONCE):
        part = [_delivery(delivery, shared) for delivery in deliveries[start : start + _AT_ONCE]]
        yield orjson.dumps(part)[1:-1]


def _delivery(delivery: Delivery, shared: frozenset[str]) -> dict[str, Any]:
    instance, report = delivery.instance, delivery.instance.report
    applied, rejected = instance.stance.applied, instance.stance.rejected
    shown = {
        "instance_id": instance.instance_id,
        "generation": instance.generation,
        "version": instance.description.version,
        "build": instance.description.build,
        "applied_epoch": None if applied is None else applied.epoch,
        "applied_revision": None if applied is None else applied.revision,
        "rejected_revision": None if rejected is None else rejected.position.revision,
        "state": delivery.standing,
        "schema": instance.schema_hash,
        "unknown_keys": _own(report.unknown, shared),
        "shadowed_keys": report.shadowed,
        "defaulted_keys": report.defaulted,
        "unread_keys": _own(report.unread, shared),
        "local_keys": report.local_keys,
        "last_seen": rfc3339(instance.seen_at),
    }
    return shown if delivery.error is None else shown | {"error": delivery.error}


def _own(keys: Sequence[str], shared: frozenset[str]) -> Sequence[str]:
    return [key for key in keys if key not in shared] if shared else keys


def _after(fleet: Fleet, services: Sequence[str], cursor: str | None, now: datetime) -> Iterator[Member]:
    place = tuple((cursor or "").split("/"))
    for service in services:
        if service >= place[0]:
            for member in fleet.members(service, now):
                if cursor is None or member.instance.key > place:
                    yield member


def _cursor(instance: Instance) -> str:
    return "/".join(instance.key)


def _fits(member: Member, query: InstancesQuery) -> bool:
    description = member.instance.description
    return (
        (query.environment is None or member.instance.environment == query.environment)
        and (query.state is None or member.state is query.state)
        and (query.capability is None or query.capability in description.capabilities)
        and (query.zone is None or description.zone == query.zone)
        and all(description.labels.get(name) == value for name, value in query.labels.items())
        and all(_says(description.metadata, name, value) for name, value in query.metadata.items())
    )


def _says(metadata: Mapping[str, Any], name: str, value: str) -> bool:
    if name not in metadata:
        return False
    found = metadata[name]
    return value == (found if isinstance(found, str) else canonical(found).decode())
