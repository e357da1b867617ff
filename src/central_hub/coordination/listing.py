"""An instance as everybody is told of it: in lists, in events, on the bus. Pure."""

from datetime import datetime
from typing import Any

from central_hub.audit.chain import rfc3339
from central_hub.coordination.check_result import known
from central_hub.coordination.fleet import Member
from central_hub.coordination.registry import lease_ends
from central_hub.storage.instance_values import Instance, Key


def described(member: Member, now: datetime) -> dict[str, Any]:
    """An instance as it is listed."""
    instance = member.instance
    description, drain = instance.description, instance.drain
    return {
        "service": instance.service,
        "environment": instance.environment,
        "instance_id": instance.instance_id,
        "generation": instance.generation,
        "state": member.state,
        "kept": member.is_kept,
        "host": description.host,
        "port": description.port,
        "protocol": description.protocol,
        "health_endpoint": description.health_endpoint,
        "version": description.version,
        "build": description.build,
        "capabilities": list(description.capabilities),
        "labels": dict(description.labels),
        "metadata": dict(description.metadata),
        "weight": description.weight,
        "zone": description.zone,
        "lease_seconds": instance.lease_seconds,
        "lease_ends": rfc3339(lease_ends(instance)),
        "registered_at": rfc3339(instance.registered_at),
        "last_seen": rfc3339(instance.seen_at),
        "drain": None if drain is None else {"by": drain.by, "at": rfc3339(drain.at), "reason": drain.reason},
        "check": checked(instance, now),
    }


def checked(instance: Instance, now: datetime) -> dict[str, Any] | None:
    """What its health endpoint answered; None where it was not asked, or not lately."""
    check = known(instance.check, now)
    if check is None:
        return None
    return {
        "state": check.state,
        "reason": check.reason,
        "at": rfc3339(check.at),
        "latency_ms": None if check.latency_ms is None else round(check.latency_ms, 3),
    }


def gone(key: Key, generation: int | None) -> dict[str, Any]:
    """An instance that is listed no more; without its generation where that is forgotten."""
    service, environment, instance_id = key
    told: dict[str, Any] = {"service": service, "environment": environment, "instance_id": instance_id}
    return told if generation is None else told | {"generation": generation}
