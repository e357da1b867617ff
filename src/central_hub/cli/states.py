"""How states are shown: their colours, and which is worse."""

from typing import Final

from central_hub_client.wire import WORST_FIRST, HealthState

_STYLES: Final[dict[str, str]] = {
    HealthState.HEALTHY: "green",
    HealthState.DEGRADED: "yellow",
    HealthState.STARTING: "cyan",
    HealthState.DRAINING: "cyan",
    HealthState.UNHEALTHY: "bold red",
    HealthState.EXPIRED: "red",
}


def style_of(shown: str) -> str:
    """The style of a state; more may be said of it behind a comma."""
    return _STYLES.get(shown.partition(",")[0], "")


def badness(state: str | None) -> int:
    """The place of a state, the worst first; one that is not known here comes before all, and none after all."""
    if state is None:
        return len(WORST_FIRST)
    return WORST_FIRST.index(HealthState(state)) if state in WORST_FIRST else -1
