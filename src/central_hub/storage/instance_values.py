"""What is kept of an instance, as values: who it is, how to reach it, what it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from central_hub_client.wire import HealthState, Position

Key = tuple[str, str, str]
"""Service, environment, instance id."""


@dataclass(frozen=True, slots=True)
class Description:
    """What an instance says of itself when it registers: how to reach it, and what it is."""

    host: str | None = None
    port: int | None = None
    protocol: str | None = None
    health_endpoint: str | None = None
    version: str | None = None
    build: str | None = None
    capabilities: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    weight: int = 1
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A configuration that an instance refused, and why."""

    position: Position
    reason: str


@dataclass(frozen=True, slots=True)
class Stance:
    """Which configuration an instance runs, and which newer one it refused."""

    applied: Position | None = None
    rejected: Rejection | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Report:
    """Keys of the configuration, as JSON Pointers, by what an instance makes of them."""

    unknown: tuple[str, ...] = ()
    shadowed: tuple[str, ...] = ()
    defaulted: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    local_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drain:
    """That an operator took an instance out of routing: the name of his token, when, and why."""

    by: str
    at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """What the hub found out when it asked an instance's health endpoint last.

    `state` is None where nothing could be measured. `against` counts the results in a row that speak against it:
    failures of one that counts as healthy, successes of one that counts as unhealthy.
    """

    state: HealthState | None
    against: int
    reason: str | None
    at: datetime
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as the hub knows it. `change` counts the changes of its row: the higher one is the later.

    The lease runs from `leased_at`: that is when it was last heard, or when the hub began to listen again after a time
    in which it could not.
    """

    service: str
    environment: str
    instance_id: str
    generation: int
    secret_sha256: bytes = field(repr=False)
    description: Description
    schema_hash: str | None
    lease_seconds: int
    state: HealthState
    registered_at: datetime
    seen_at: datetime
    leased_at: datetime
    deregistered_at: datetime | None
    stance: Stance
    report: Report
    change: int
    drain: Drain | None = None
    check: Check | None = None

    @property
    def key(self) -> Key:
        return self.service, self.environment, self.instance_id


@dataclass(frozen=True, slots=True)
class Beat:
    """What one heartbeat, or several of the same incarnation, change. None: nothing was said about it."""

    key: Key
    generation: int
    seen_at: datetime
    state: HealthState | None = None
    stance: Stance | None = None
    report: Report | None = None
    check: Check | None = None
