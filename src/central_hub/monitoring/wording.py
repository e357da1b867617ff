"""The sentence of an alert. Pure."""

from typing import Final

from central_hub.audit.chain import rfc3339
from central_hub.monitoring.notification import SHOWN_AFFECTED, on_one_line
from central_hub.monitoring.rules import Rule
from central_hub.storage.alert_values import Alert

LONGEST_SUMMARY: Final = 2000


def summary_of(rule: Rule, alert: Alert, state: str) -> str:
    """The rule's sentence about an alert whose subject is in this state, which may be empty."""
    names = [str(each) for each in alert.affected[:SHOWN_AFFECTED]]
    more = len(alert.affected) - len(names)
    sentence = rule.summary.format(
        subject=alert.subject,
        state=state,
        environment=alert.environment,
        reason=alert.reason,
        since=rfc3339(alert.since),
        severity=alert.severity,
        rule=alert.rule,
        affected=", ".join(names) + (f" and {more} more" if more > 0 else ""),
    )
    return on_one_line(sentence, LONGEST_SUMMARY)
