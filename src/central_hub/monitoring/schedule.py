"""Which targets a replica probes, and when. Pure."""

from collections.abc import Collection, Mapping
from typing import Final

from central_hub.monitoring.infrastructure import Component, Infrastructure, ProbeSettings
from central_hub.rendezvous import chosen

LONGEST_FIRST_SECONDS: Final = 5.0
"""Once it is known that a replica died, its targets wait no longer than that, however long their interval is."""
_JITTER: Final = 0.1


def probed(infrastructure: Infrastructure) -> dict[str, tuple[Component, ProbeSettings]]:
    """The components that are probed, each with how."""
    return {
        name: (component, component.probe)
        for name, component in infrastructure.components.items()
        if component.probe is not None
    }


def own(
    targets: Mapping[str, tuple[Component, ProbeSettings]], own_id: str, replicas: Collection[str]
) -> frozenset[str]:
    """Those of the targets that this replica probes: each is probed by one."""
    return frozenset(name for name in targets if chosen(name, replicas) == own_id)


def first_delay(settings: ProbeSettings, draw: float) -> float:
    """Seconds until the first probe, so that not all come at once. `draw` is from 0 to 1."""
    return draw * min(settings.interval_seconds / 2, LONGEST_FIRST_SECONDS)


def delay(settings: ProbeSettings, took: float, draw: float) -> float:
    """Seconds after a probe that took so long until the next: an interval from its beginning, give or take a tenth."""
    return max(0.0, settings.interval_seconds * (1 + _JITTER * (2 * draw - 1)) - took)
