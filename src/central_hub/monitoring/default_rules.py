"""The rules that every hub has by itself; infrastructure.yaml may change each of them by its name. Pure.

A component is found to be down after three failed probes, by default half a minute after it broke. What services suffer
from that counts only after a minute, so that one alert tells of the component and names them, and none is told of them.
"""

from collections.abc import Mapping
from typing import Final

from central_hub.monitoring.condition import ConditionKind
from central_hub.monitoring.rules import Rule, Severity
from central_hub_client.wire import HealthState

_RULES: Final = (
    Rule(
        name="infrastructure-down",
        kind=ConditionKind.INFRASTRUCTURE,
        severity=Severity.CRITICAL,
        summary="{subject} is down since {since}: {reason}",
        states=frozenset({HealthState.UNHEALTHY}),
        # Whom it hits shows in the next looks: the alert is to name them.
        for_seconds=5,
    ),
    Rule(
        name="infrastructure-degraded",
        kind=ConditionKind.INFRASTRUCTURE,
        severity=Severity.WARNING,
        summary="{subject} has been {state} since {since}: {reason}",
        states=frozenset({HealthState.DEGRADED, HealthState.EXPIRED}),
        for_seconds=120,
    ),
    Rule(
        name="service-unhealthy",
        kind=ConditionKind.SERVICE,
        severity=Severity.CRITICAL,
        summary="{subject} in environment {environment} has been {state} since {since}: {reason}",
        states=frozenset({HealthState.UNHEALTHY, HealthState.EXPIRED}),
        for_seconds=60,
    ),
    Rule(
        name="service-degraded",
        kind=ConditionKind.SERVICE,
        severity=Severity.WARNING,
        summary="{subject} in environment {environment} has been degraded since {since}: {reason}",
        states=frozenset({HealthState.DEGRADED}),
        for_seconds=120,
    ),
    Rule(
        name="config-rejected",
        kind=ConditionKind.CONFIG_REJECTED,
        severity=Severity.CRITICAL,
        summary="the configuration of {subject} in environment {environment} is refused: {reason}",
    ),
    Rule(
        name="config-not-converged",
        kind=ConditionKind.CONFIG_NOT_CONVERGED,
        severity=Severity.WARNING,
        summary="{subject} in environment {environment} does not run its latest configuration since {since}: {reason}",
        for_seconds=600,
    ),
    Rule(
        name="audit-broken",
        kind=ConditionKind.AUDIT_BROKEN,
        severity=Severity.CRITICAL,
        summary="the audit log does not verify: {reason}",
    ),
    Rule(
        name="replica-lagging",
        kind=ConditionKind.REPLICA_LAGGING,
        severity=Severity.WARNING,
        summary="replica {subject} of the hub lags behind the log since {since}: {reason}",
        for_seconds=30,
    ),
    Rule(
        name="replica-fenced",
        kind=ConditionKind.REPLICA_FENCED,
        severity=Severity.CRITICAL,
        summary="replica {subject} of the hub is fenced: {reason}",
    ),
    Rule(
        name="store-unreachable",
        kind=ConditionKind.STORE_UNREACHABLE,
        severity=Severity.CRITICAL,
        summary="replica {subject} of the hub does not reach PostgreSQL since {since}: {reason}",
        for_seconds=10,
    ),
)

DEFAULT_RULES: Final[Mapping[str, Rule]] = {rule.name: rule for rule in _RULES}
