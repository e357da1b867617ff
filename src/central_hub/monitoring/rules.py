"""The rules of alerts: what is worth telling, when, how badly, and to whom. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from central_hub.monitoring.condition import ConditionKind


class Severity(StrEnum):
    """How much it matters, least first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class ChannelType(StrEnum):
    """How a channel tells people."""

    LOG = "log"
    WEBHOOK = "webhook"
    APPRISE = "apprise"
    NATS = "nats"


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that lasts for `for_seconds` fires. Whatever of `states`, `names`, `environments` is empty is any.

    `summary` is a sentence with {subject}, {state}, {environment}, {reason}, {since} and the like in it.
    """

    name: str
    kind: ConditionKind
    severity: Severity
    summary: str
    states: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    only_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the condition must have."""
    for_seconds: float = 0.0
    cooldown_seconds: float = 300.0
    """After it was told, how long the same alert is not told again, however often it comes and goes."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the alert gets."""
    notify: tuple[str, ...] = ("log",)
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """A channel by its name. Credentials in `options` are references, never values."""

    name: str
    type: ChannelType
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """All rules and channels. The channels `log` and `nats` are always there."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    channels: Mapping[str, ChannelSettings] = field(default_factory=dict)
