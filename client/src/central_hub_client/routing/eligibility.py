"""Who may be called at all. Pure."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from central_hub_client.routing.policy import Routable, T
from central_hub_client.wire import HealthState

_CALLABLE: Final = (HealthState.HEALTHY, HealthState.DEGRADED)
"""The better ones first."""


def eligible(instances: Iterable[T]) -> tuple[T, ...]:
    """Those that may be called, by name: the healthy ones, and only where there is none the degraded ones.

    One that starts, drains, is unhealthy or was not heard of for its lease never is; nor is one of weight 0, which is
    how an instance is left out on purpose.
    """
    weighty = [instance for instance in instances if instance.weight > 0]
    for state in _CALLABLE:
        if found := [instance for instance in weighty if instance.state == state]:
            return tuple(sorted(found, key=lambda instance: instance.instance_id))
    return ()


def why_nobody(instances: Iterable[Routable]) -> str:
    """Why none of these may be called, as a part of a sentence: `2 draining, 1 of weight 0`."""
    kinds = Counter(
        "of weight 0" if instance.weight == 0 and instance.state in _CALLABLE else str(instance.state)
        for instance in instances
    )
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none is registered"
