"""The rules of the registry: leases, generations, and who may speak for an instance. Pure."""

import hmac
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from central_hub.coordination.check_result import known, refutes
from central_hub.errors import Forbidden, NotFound, StaleGeneration
from central_hub.storage.instance_values import Beat, Check, Instance
from central_hub_client.wire import HealthState

REMEMBERED_FOR: Final = timedelta(hours=1)
"""How long an instance that fell silent is still spoken of. Most never come back: they crashed, or their host did."""
LONGEST_LEASE: Final = timedelta(hours=1)
KNOWN_FOR: Final = timedelta(days=30)
"""How long its row is kept, so that an instance of the same name gets a higher generation."""


@cache  # a fleet has few lengths of leases, and is looked through often
def _duration(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


def lease_ends(instance: Instance) -> datetime:
    """When an instance counts as silent unless it is heard before."""
    return instance.leased_at + _duration(instance.lease_seconds)


def state_of(instance: Instance, now: datetime) -> HealthState:
    """How an instance counts: as it last was unless its checks refute it, or `expired` where its lease has run out."""
    return HealthState.EXPIRED if lease_ends(instance) <= now else unleased_state(instance, now)


def unleased_state(instance: Instance, now: datetime) -> HealthState:
    """The same, whatever has become of its lease."""
    said = last_state(instance)
    return HealthState.UNHEALTHY if refutes(said, known(instance.check, now)) else said


def last_state(instance: Instance) -> HealthState:
    """What the instance said last: `draining` where it is well and an operator drains it."""
    is_well = instance.state is not HealthState.UNHEALTHY
    return HealthState.DRAINING if instance.drain is not None and is_well else instance.state


def is_remembered(instance: Instance, now: datetime) -> bool:
    """Whether an instance is still spoken of: it has not said goodbye, and has not been silent for too long."""
    return instance.deregistered_at is None and now < lease_ends(instance) + REMEMBERED_FOR


def prove(candidates: Iterable[Instance], generation: int, secret_sha256: bytes) -> Instance:
    """The one of the remembered instances of a name that the caller is. Raises NotFound, StaleGeneration, Forbidden.

    A name may be used in several environments, and a heartbeat names none: the secret tells which is meant. A
    generation that was never given out belongs to a history that a restore has taken back: such an instance is told
    to register again, as any that is not known.
    """
    known = list(candidates)
    for instance in known:
        if instance.generation == generation and hmac.compare_digest(instance.secret_sha256, secret_sha256):
            return instance
    if any(instance.generation > generation for instance in known):
        raise StaleGeneration("another process has registered under this instance's name since: this one must stop")
    if any(instance.generation == generation for instance in known):
        raise Forbidden("this is not the incarnation secret of the instance")
    raise NotFound("there is no such instance: register again")


def renewed(instance: Instance, beat: Beat) -> Instance:
    """The instance after a heartbeat. What the heartbeat says nothing about stays."""
    return replace(
        instance,
        seen_at=max(instance.seen_at, beat.seen_at),
        leased_at=max(instance.leased_at, beat.seen_at),
        state=beat.state or instance.state,
        stance=instance.stance if beat.stance is None else beat.stance,
        report=instance.report if beat.report is None else beat.report,
        check=_later(instance.check, beat.check),
    )


def heard(instance: Instance, beat: Beat) -> Beat:
    """What a heartbeat changes about an instance. One that speaks of no state has at least started."""
    state = beat.state or (HealthState.HEALTHY if instance.state is HealthState.STARTING else instance.state)
    return Beat(
        beat.key,
        beat.generation,
        beat.seen_at,
        state=None if state is instance.state else state,
        stance=None if beat.stance == instance.stance else beat.stance,
        report=None if beat.report == instance.report else beat.report,
    )


def merged(earlier: Beat | None, later: Beat) -> Beat:
    """Two heartbeats of one instance as one. An older incarnation's counts for nothing."""
    if earlier is None or earlier.generation < later.generation:
        return later
    if earlier.generation > later.generation:
        return earlier
    return Beat(
        key=later.key,
        generation=later.generation,
        seen_at=max(earlier.seen_at, later.seen_at),
        state=later.state or earlier.state,
        stance=earlier.stance if later.stance is None else later.stance,
        report=earlier.report if later.report is None else later.report,
        check=_later(earlier.check, later.check),
    )


def _later(one: Check | None, other: Check | None) -> Check | None:
    if one is None or other is None:
        return one or other
    return one if one.at > other.at else other
