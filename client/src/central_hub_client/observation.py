"""What is counted and measured of a manager, for whoever collects metrics. It is read when it is asked for: nothing is
called while configuration is read or changed, and a forked process counts for itself."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from central_hub_client.config_manager import ConfigManager
from central_hub_client.held_config import Counts


@dataclass(frozen=True, slots=True)
class Observation:
    """A manager at one moment. Counts begin at zero with each process and each start.

    `fetches` are answers of the hub, `failures` are requests without a usable answer, `updates` are configurations
    taken from the hub however they came, `fallbacks` those taken from disk, from a seed or from the stream's memory
    because the hub did not answer, `refused` what the settings model did not take. `staleness_seconds` is the time
    since the hub last confirmed what is in use, None where it never did. `revision` is the one applied.
    """

    service: str
    environment: str
    fetches: int
    failures: int
    updates: int
    fallbacks: int
    refused: int
    staleness_seconds: float | None
    revision: int | None
    is_stale: bool


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of an observation; None where there is none at the moment."""

    name: str
    kind: Kind
    unit: str
    help: str
    read: Callable[[Observation], float | None]


MEASURES: Final = (
    Measure("fetches", Kind.COUNTER, "", "Answers of the hub.", lambda seen: seen.fetches),
    Measure("failures", Kind.COUNTER, "", "Requests without a usable answer.", lambda seen: seen.failures),
    Measure("updates", Kind.COUNTER, "", "Configurations taken from the hub.", lambda seen: seen.updates),
    Measure("fallbacks", Kind.COUNTER, "", "Configurations taken from elsewhere.", lambda seen: seen.fallbacks),
    Measure("refused", Kind.COUNTER, "", "What the settings model did not take.", lambda seen: seen.refused),
    Measure(
        "staleness",
        Kind.GAUGE,
        "seconds",
        "Time since the hub confirmed what is in use.",
        lambda seen: seen.staleness_seconds,
    ),
    Measure("revision", Kind.GAUGE, "", "The revision applied.", lambda seen: seen.revision),
    Measure("stale", Kind.GAUGE, "", "1 where the hub has not confirmed lately.", lambda seen: int(seen.is_stale)),
)


def observe(manager: ConfigManager[Any]) -> Observation:
    """The manager now. Takes microseconds."""
    client, status = manager._keeper.client, manager.status
    counts = Counts() if client is None else client.counts
    return Observation(
        service=manager.service_name,
        environment=manager.environment,
        fetches=counts.fetches,
        failures=counts.failures,
        updates=counts.updates,
        fallbacks=counts.fallbacks,
        refused=status.rejected_count,
        staleness_seconds=status.age_seconds,
        revision=status.revision,
        is_stale=status.stale,
    )
