"""What is known, turned into what is amiss. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.infrastructure import Component
from central_hub.storage.target_values import Target
from central_hub_client.wire import HealthState

HUB: Final = "central-hub"
"""The subject of what concerns the hub as a whole."""

WELL: Final = frozenset({HealthState.HEALTHY, HealthState.STARTING, HealthState.DRAINING})
"""Who starts or ends is not amiss."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """How a service is in an environment, and why."""

    service: str
    environment: str
    state: HealthState
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ConfigState:
    """How far the latest revision of a configuration has got: the instances, of those that are alive, that refuse it
    and that do not run it yet, and since when each is so."""

    service: str
    environment: str
    revision: str
    instances: int
    rejected: int = 0
    rejection: str = ""
    rejected_since: datetime | None = None
    pending: int = 0
    pending_since: datetime | None = None


def of_infrastructure(targets: Iterable[Target], components: Mapping[str, Component]) -> Iterator[Condition]:
    """Components that are not well."""
    for target in targets:
        if target.state not in WELL and target.name in components:
            yield Condition(
                ConditionKind.INFRASTRUCTURE,
                target.name,
                target.since,
                target.reason or "no reason is known",
                state=target.state,
                labels=components[target.name].labels,
            )


def of_services(services: Iterable[ServiceState]) -> Iterator[Condition]:
    """Services that are not well."""
    for service in services:
        if service.state not in WELL:
            yield Condition(
                ConditionKind.SERVICE,
                service.service,
                service.since,
                service.reason,
                state=service.state,
                environment=service.environment,
            )


def of_configs(configs: Iterable[ConfigState]) -> Iterator[Condition]:
    """Revisions that do not get through."""
    for config in configs:
        if config.rejected_since is not None:
            yield Condition(
                ConditionKind.CONFIG_REJECTED,
                config.service,
                config.rejected_since,
                f"{config.rejected} of {config.instances} instances refuse revision {config.revision}:"
                f" {config.rejection}",
                environment=config.environment,
            )
        if config.pending_since is not None:
            yield Condition(
                ConditionKind.CONFIG_NOT_CONVERGED,
                config.service,
                config.pending_since,
                f"{config.pending} of {config.instances} instances do not run revision {config.revision}",
                environment=config.environment,
            )


def of_audit(flaws: int, first: str, since: datetime) -> Iterator[Condition]:
    """An audit log that does not verify."""
    if flaws:
        reason = first if flaws == 1 else f"{first}; and {flaws - 1} more"
        yield Condition(ConditionKind.AUDIT_BROKEN, HUB, since, reason)


def of_replica(
    replica: str, *, lagging_since: datetime | None, fenced: str | None, now: datetime
) -> Iterator[Condition]:
    """What only this replica of the hub can tell of itself. `lagging_since` is when it last was at the end of the log,
    where that is too long ago."""
    if lagging_since is not None:
        seconds = (now - lagging_since).total_seconds()
        yield Condition(
            ConditionKind.REPLICA_LAGGING,
            replica,
            lagging_since,
            f"it was last at the end of the log {seconds - seconds % 10:.0f} seconds ago or longer",
            replica=replica,
        )
    if fenced is not None:
        yield Condition(ConditionKind.REPLICA_FENCED, replica, now, fenced, replica=replica)


def of_store(replica: str, reason: str, since: datetime) -> Condition:
    """A PostgreSQL that this replica does not reach."""
    return Condition(ConditionKind.STORE_UNREACHABLE, replica, since, reason, replica=replica)
