"""Which of the schemas that instances have reported a change is held against, and what instances supply. Pure."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from central_hub.config.reach import Inputs, View
from central_hub.config.snapshot import Key
from central_hub.storage.config_values import DocumentChange
from central_hub.storage.consumer_schemas import ConsumerKey, ConsumerSchema
from central_hub.storage.instance_values import Instance, Report, Stance
from central_hub.validation.pointers import lies_in
from central_hub_client.wire import DEFAULT_ENVIRONMENT, GLOBAL

REMEMBERED_FOR: Final = timedelta(days=30)
"""Batch jobs and hosts behind a broken wire count too, not only who is alive this minute."""


class Reason(StrEnum):
    """Why a consumer counts, or does not."""

    RUNNING = "running"
    PINNED = "pinned"
    SEEN = "seen"
    UNPINNED = "unpinned"
    FORGOTTEN = "forgotten"
    RETIRED = "retired"

    @property
    def counts(self) -> bool:
        return self in (Reason.RUNNING, Reason.PINNED, Reason.SEEN)


def reasons(
    consumers: Iterable[ConsumerSchema], running: Collection[ConsumerKey], now: datetime
) -> list[tuple[ConsumerSchema, Reason]]:
    """The consumers of one service in one environment, each with why it counts or does not.

    Pinning takes the place of the memory: then the pinned builds count, and what runs.
    """
    consumers = list(consumers)
    are_pinned = any(consumer.pinned_at is not None for consumer in consumers)
    return [(consumer, _reason(consumer, running, now, are_pinned=are_pinned)) for consumer in consumers]


def key_of(instance: Instance) -> ConsumerKey | None:
    """The consumer that an instance is one of; None for one that has told no schema."""
    if instance.schema_hash is None:
        return None
    return instance.service, instance.environment, instance.description.build or "", instance.schema_hash


def supplied_by(instances: Iterable[Instance]) -> tuple[str, ...] | None:
    """The keys that every instance supplies by itself; None where none has told anything yet."""
    told = [
        instance.report.local_keys
        for instance in instances
        if instance.report != Report() or instance.stance != Stance()
    ]
    return common_keys(told) if told else None


def common_keys(told: Sequence[Iterable[str]]) -> tuple[str, ...]:
    """The keys that all have."""
    return tuple(sorted(frozenset.intersection(*map(frozenset, told)))) if told else ()


def places_of(consumers: Iterable[Key], changes: Collection[DocumentChange]) -> list[Key]:
    """Where consumers are whose effective config the changes may alter."""
    return sorted(place for place in consumers if any(may_alter(change, place) for change in changes))


def may_alter(change: DocumentChange, place: Key) -> bool:
    """Whether the effective config of a place has the changed document among its layers."""
    service, environment = place
    return change.service in (GLOBAL, service) and change.environment in (DEFAULT_ENVIRONMENT, environment)


def inputs_of(view: View, place: Key, version: int) -> Inputs:
    """What the answers of a place's consumers depend on; `version` is that of the consumers."""
    return place, version, tuple((layer.key, layer.revision) for layer in view.layers(*place))


def declared_by_nobody(unknown: Iterable[Collection[str]], changed: Iterable[str]) -> list[str]:
    """What no consumer declares of the changed keys and of what is in them. `unknown` is that of each consumer."""
    by_consumer, places = [frozenset(found) for found in unknown], frozenset(changed)
    candidates = {key for key in frozenset().union(*by_consumer) if lies_in(key, places)}
    return sorted(key for key in candidates if all(lies_in(key, found) for found in by_consumer))


def _reason(consumer: ConsumerSchema, running: Collection[ConsumerKey], now: datetime, *, are_pinned: bool) -> Reason:
    if consumer.retired_at is not None:
        return Reason.RETIRED
    if consumer.pinned_at is not None:
        return Reason.PINNED
    if consumer.key in running:
        return Reason.RUNNING
    if are_pinned:
        return Reason.UNPINNED
    return Reason.SEEN if now - consumer.last_seen_at < REMEMBERED_FOR else Reason.FORGOTTEN
