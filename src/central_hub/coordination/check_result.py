"""What the checks of an instance's health endpoint come to. Pure."""

from datetime import datetime, timedelta
from typing import Final

from central_hub.connections.health_probe import Probed
from central_hub.storage.instance_values import Check
from central_hub_client.wire import HealthState

FAILURES_UNTIL_UNHEALTHY: Final = 3
SUCCESSES_UNTIL_HEALTHY: Final = 2
COUNTS_FOR: Final = timedelta(minutes=1)
"""How long a result says something: a replica that dies is stood in for long before."""
CALLABLE: Final = frozenset({HealthState.HEALTHY, HealthState.DEGRADED})
"""In which states an instance says that it can be called."""


def observe(before: Check | None, probed: Probed, at: datetime) -> Check:
    """The check after one more result. It is `degraded` while it has failed too seldom to count as `unhealthy`.

    Where nothing could be measured, nothing is known: what the instance says of itself counts.
    """
    if probed.ok is None:
        return Check(None, 0, probed.reason, at, None)
    was_unhealthy = before is not None and before.state is HealthState.UNHEALTHY
    against = 0 if probed.ok != was_unhealthy else 1 + (0 if before is None else before.against)
    if was_unhealthy:
        state = HealthState.HEALTHY if against >= SUCCESSES_UNTIL_HEALTHY else HealthState.UNHEALTHY
    elif against >= FAILURES_UNTIL_UNHEALTHY:
        state = HealthState.UNHEALTHY
    else:
        state = HealthState.DEGRADED if against else HealthState.HEALTHY
    has_turned = was_unhealthy != (state is HealthState.UNHEALTHY)
    return Check(state, 0 if has_turned else against, probed.reason, at, probed.latency_ms)


def known(check: Check | None, now: datetime) -> Check | None:
    """The check while its result says something."""
    return check if check is not None and now < ends(check) else None


def ends(check: Check) -> datetime:
    """When its result says nothing any more."""
    return check.at + COUNTS_FOR


def refutes(said: HealthState, check: Check | None) -> bool:
    """Whether the check contradicts an instance that says that it can be called.

    One that starts or drains says itself that it cannot, which no check knows better.
    """
    return check is not None and check.state is HealthState.UNHEALTHY and said in CALLABLE
