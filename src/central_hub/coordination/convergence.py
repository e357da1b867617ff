"""How far a revision of a configuration has got: stored is not delivered, delivered is not applied. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache, cached_property

from central_hub.coordination.registry import state_of
from central_hub.storage.instance_values import Instance
from central_hub_client.wire import HealthState, Position


class Standing(StrEnum):
    """How an instance stands to a revision."""

    APPLIED = "applied"
    PENDING = "pending"
    REJECTED = "rejected"
    SHADOWED = "shadowed"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A revision as it concerns one instance. `error` says why it was refused, or what hides it."""

    instance: Instance
    standing: Standing
    error: str | None = None


@dataclass(frozen=True)
class Convergence:
    """A revision as it concerns a service. Without any instance nothing is left to converge."""

    deliveries: tuple[Delivery, ...]

    @cached_property
    def counts(self) -> dict[Standing, int]:
        """How many instances stand how, for every standing."""
        counted = Counter(delivery.standing for delivery in self.deliveries)
        return {standing: counted[standing] for standing in Standing}

    @property
    def converged(self) -> bool:
        """Whether every instance that is spoken of runs it. Of a silent one nobody knows what it runs."""
        return self.counts[Standing.APPLIED] == len(self.deliveries)

    @property
    def is_settled(self) -> bool:
        """Whether nothing changes by waiting: who is alive runs it, refuses it or hides it."""
        return self.counts[Standing.PENDING] == 0


class Places:
    """Places in a document, as JSON Pointers."""

    def __init__(self, pointers: Iterable[str]) -> None:
        self._named = frozenset(pointers)
        self._around = frozenset(around for pointer in self._named for around in _around(pointer))

    def touch(self, pointer: str) -> bool:
        """Whether one of them is this place, lies in it, or lies around it."""
        return (
            pointer in self._named
            or pointer in self._around
            or any(around in self._named for around in _around(pointer))
        )


def converge(
    instances: Iterable[Instance], target: Position | None, altered: Iterable[str], now: datetime
) -> Convergence:
    """Judge the remembered instances. `target` is None where the service has no configuration.

    `altered` are the keys that the target revision changed, as JSON Pointers: an instance whose own environment hides
    one of them has the new configuration and does not run by it.
    """
    places = Places(altered)

    @cache  # instances of one build in one place hide the same keys
    def error_of(shadowed: tuple[str, ...]) -> str | None:
        hidden = [key for key in shadowed if places.touch(key)]
        return f"its own settings hide {', '.join(hidden)}" if hidden else None

    return Convergence(tuple(_delivery(instance, target, error_of, now) for instance in instances))


def _delivery(
    instance: Instance, target: Position | None, error_of: Callable[[tuple[str, ...]], str | None], now: datetime
) -> Delivery:
    if state_of(instance, now) is HealthState.EXPIRED:
        return Delivery(instance, Standing.SILENT)
    if target is None:
        return Delivery(instance, Standing.APPLIED)
    applied, rejected = instance.stance.applied, instance.stance.rejected
    if applied is not None and applied >= target:
        error = error_of(instance.report.shadowed)
        return Delivery(instance, Standing.APPLIED if error is None else Standing.SHADOWED, error)
    # A refusal of an earlier revision says nothing about this one.
    if rejected is not None and rejected.position >= target:
        return Delivery(instance, Standing.REJECTED, rejected.reason)
    return Delivery(instance, Standing.PENDING)


def _around(pointer: str) -> Iterator[str]:
    """The places that a place lies in, up to the whole document."""
    while pointer:
        pointer = pointer.rpartition("/")[0]
        yield pointer
