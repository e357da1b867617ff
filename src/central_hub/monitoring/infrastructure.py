"""What infrastructure.yaml says, once it is read and found right. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from central_hub.monitoring.rules import AlertSettings


class Section(StrEnum):
    """Where a component stands in the file."""

    DATABASES = "databases"
    MESSAGING = "messaging"
    ENDPOINTS = "endpoints"


class Need(StrEnum):
    """How much somebody depends on a component: whether he can do his work without it."""

    REQUIRED = "required"
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How a component is probed. `options` are those of its kind of probe, such as `query` or `path`."""

    kind: str
    interval_seconds: float = 10.0
    timeout_seconds: float = 3.0
    failures: int = 3
    successes: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Component:
    """Something that services run on. `connection` is its shape: host, port, options, and for each credential a
    reference, never its value."""

    name: str
    section: Section
    type: str
    connection: Mapping[str, Any]
    probe: ProbeSettings | None
    depends_on: Mapping[str, Need] = field(default_factory=dict)
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Maintenance:
    """While it lasts, what the targets do is no reason for an alert. Without targets it is for all of them."""

    targets: frozenset[str]
    begins_at: datetime
    ends_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """All of it: whoever is named as a dependency is there, and nothing depends on itself."""

    components: Mapping[str, Component] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, Need]] = field(default_factory=dict)
    """For each service, the components that it depends on."""
    maintenance: tuple[Maintenance, ...] = ()
    alerts: AlertSettings = field(default_factory=AlertSettings)
