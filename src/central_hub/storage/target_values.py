"""What the tables of probed targets hold, as values."""

from dataclasses import dataclass
from datetime import datetime

from central_hub_client.wire import HealthState


@dataclass(frozen=True, slots=True)
class Target:
    """A component that is probed, and how it is. `against` counts the results in a row that speak against its state;
    `turns` are the last moments at which it turned well or unwell, oldest first."""

    name: str
    state: HealthState
    since: datetime
    against: int
    turns: tuple[datetime, ...]
    reason: str | None
    latency_ms: float | None
    probed_at: datetime
    probed_by: str
    change: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A target came from one state into another."""

    target: str
    at: datetime
    from_state: HealthState
    to_state: HealthState
    reason: str | None
