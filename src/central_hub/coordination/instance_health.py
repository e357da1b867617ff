"""Why an instance is as it counts, in words. Pure."""

from central_hub.audit.chain import rfc3339
from central_hub.coordination.check_result import refutes
from central_hub.coordination.fleet import Member
from central_hub.coordination.registry import last_state, lease_ends
from central_hub_client.wire import HealthState


def reason_of(member: Member) -> str | None:
    """One sentence; None of one that is healthy and called."""
    instance = member.instance
    if refutes(last_state(instance), instance.check) and member.state is HealthState.UNHEALTHY:
        assert instance.check is not None  # noqa: S101 - it is what refutes
        return f"its health endpoint fails: {instance.check.reason}"
    if member.is_kept:
        return "it fell silent together with too many others, and counts as it was last known"
    if member.state is HealthState.EXPIRED:
        return f"not heard of: its lease of {instance.lease_seconds} s ran out at {rfc3339(lease_ends(instance))}"
    if instance.drain is not None and member.state is HealthState.DRAINING:
        why = "" if instance.drain.reason is None else f": {instance.drain.reason}"
        return f"{instance.drain.by} took it out of routing{why}"
    if member.state is not HealthState.HEALTHY:
        return "it says so itself"
    return "it is of weight 0, and is not called" if instance.description.weight == 0 else None
