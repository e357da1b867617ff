"""How far the latest revision of a configuration has got: stored is not delivered, delivered is not applied. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from central_hub.coordination.registry import state_of
from central_hub.storage.instance_values import Instance
from central_hub_client.wire import InstanceState, Position


class Standing(StrEnum):
    """How an instance stands to the latest revision."""

    APPLIED = "applied"
    PENDING = "pending"
    REJECTED = "rejected"
    SHADOWED = "shadowed"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The latest revision as it concerns one instance. `error` says why it was refused."""

    instance: Instance
    standing: Standing
    error: str | None


@dataclass(frozen=True, slots=True)
class Convergence:
    """The latest revision as it concerns a service. Without any instance nothing is left to converge."""

    deliveries: tuple[Delivery, ...]

    @property
    def converged(self) -> bool:
        """Whether every instance that is spoken of runs it. Of a silent one nobody knows what it runs."""
        return all(delivery.standing is Standing.APPLIED for delivery in self.deliveries)


def converge(
    instances: Iterable[Instance], latest: Position | None, changed: Iterable[str], now: datetime
) -> Convergence:
    """Judge the remembered instances. `latest` is None where the service has no configuration.

    `changed` are the keys that the latest revision altered, as JSON Pointers: an instance whose own environment hides
    one of them has the new configuration and does not run by it.
    """
    altered = tuple(changed)
    return Convergence(tuple(_delivery(instance, latest, altered, now) for instance in instances))


def touches(key: str, other: str) -> bool:
    """Whether of two JSON Pointers one names the other's place, or a place around it."""
    return key == other or key.startswith(f"{other}/") or other.startswith(f"{key}/")


def _delivery(instance: Instance, latest: Position | None, changed: tuple[str, ...], now: datetime) -> Delivery:
    if state_of(instance, now) is InstanceState.SILENT:
        return Delivery(instance, Standing.SILENT, None)
    if latest is None:
        return Delivery(instance, Standing.APPLIED, None)
    applied, rejected = instance.stance.applied, instance.stance.rejected
    if applied is not None and applied >= latest:
        hidden = any(touches(key, shadowed) for key in changed for shadowed in instance.report.shadowed)
        return Delivery(instance, Standing.SHADOWED if hidden else Standing.APPLIED, None)
    # A refusal of an earlier revision says nothing about this one.
    if rejected is not None and rejected.position >= latest:
        return Delivery(instance, Standing.REJECTED, rejected.reason)
    return Delivery(instance, Standing.PENDING, None)
