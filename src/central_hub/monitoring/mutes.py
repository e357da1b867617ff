"""What keeps an alert that is open from being told. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from central_hub.monitoring.condition import ConditionKind
from central_hub.monitoring.infrastructure import Maintenance
from central_hub.storage.alert_values import Alert, Silence


@dataclass(frozen=True, slots=True)
class Mutes:
    """The silences and the maintenance of one moment."""

    silences: tuple[Silence, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()

    @classmethod
    def at(cls, now: datetime, silences: Iterable[Silence], maintenance: Iterable[Maintenance]) -> "Mutes":
        """Those of all that hold now."""
        return cls(
            tuple(silence for silence in silences if silence.holds(now)),
            tuple(each for each in maintenance if each.begins_at <= now < each.ends_at),
        )

    def fit(self, alert: Alert) -> bool:
        """Whether an alert is not to be told."""
        return any(silence.fits(alert) for silence in self.silences) or (
            alert.kind == ConditionKind.INFRASTRUCTURE
            and any(not each.targets or alert.subject in each.targets for each in self.maintenance)
        )
