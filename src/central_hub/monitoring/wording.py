"""The sentence of an alert. Pure."""

from central_hub.audit.chain import rfc3339
from central_hub.monitoring.rules import Rule
from central_hub.storage.alert_values import Alert


def summary_of(rule: Rule, alert: Alert, state: str) -> str:
    """The rule's sentence about an alert whose subject is in this state, which may be empty."""
    return rule.summary.format(
        subject=alert.subject,
        state=state,
        environment=alert.environment,
        reason=alert.reason,
        since=rfc3339(alert.since),
        severity=alert.severity,
        rule=alert.rule,
        affected=", ".join(map(str, alert.affected)),
    )
