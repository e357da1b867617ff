"""What people do about alerts: look them up, acknowledge and silence them."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub.connections.database import Database
from central_hub.errors import InvalidRequest, NotFound
from central_hub.storage import alerts, silences
from central_hub.storage.alert_values import Alert, Silence
from central_hub.storage.alerts import Covered, Place, Wanted

MAX_SILENCES: Final = 20
"""Of one alert, before they end: all that hold are looked through at every look."""

log = structlog.get_logger()


class AlertDesk:
    """Every verb is one transaction. Times are the store's."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def listed(self, wanted: Wanted, covered: Covered, *, after: Place | None, limit: int) -> Sequence[Alert]:
        """Alerts, the latest to begin first. Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            return await alerts.listed(connection, wanted, covered, after=after, limit=limit)

    async def find(self, alert_id: str) -> Alert:
        """One alert. Raises NotFound, StoreUnavailable."""
        async with self._database.reading() as connection:
            found = await alerts.find(connection, alert_id)
        if found is None:
            raise no_alert(alert_id)
        return found

    async def acknowledge(self, alert_id: str, *, by: str, comment: str | None) -> Alert:
        """Say that somebody looks after it: it is not told again until it is resolved. Raises NotFound,
        InvalidRequest, StoreUnavailable."""
        at = self._clock()
        changed = await self._database.transaction(
            lambda connection: alerts.acknowledge(connection, alert_id, by=by, comment=comment, at=at)
        )
        if changed is None:
            await self.find(alert_id)
            raise InvalidRequest("the alert is resolved: there is nothing to acknowledge")
        log.info("alert_acknowledged", id=alert_id, by=by)
        return changed

    async def silence(self, alert: Alert, *, by: str, until: datetime, reason: str) -> Silence:
        """Tell nobody of this alert, whenever it comes back, until then. Raises InvalidRequest, StoreUnavailable."""
        silence = Silence(
            id=secrets.token_hex(8),
            rule=alert.rule,
            subject=alert.subject,
            environment=alert.environment,
            reason=reason,
            created_at=self._clock(),
            created_by=by,
            until=until,
        )

        async def work(connection: AsyncConnection) -> None:
            if await silences.count_of(connection, silence) >= MAX_SILENCES:
                raise InvalidRequest(f"the alert has {MAX_SILENCES} silences that have not ended: end one of them")
            await silences.add(connection, silence)

        await self._database.transaction(work)
        log.info("alert_silenced", rule=alert.rule, subject=alert.subject, by=by, until=until.isoformat())
        return silence

    async def silences(self) -> Sequence[Silence]:
        """Those that have not ended, the first to end first. Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            return await silences.current(connection, self._clock())

    async def find_silence(self, silence_id: str) -> Silence:
        """One that has not ended. Raises NotFound, StoreUnavailable."""
        async with self._database.reading() as connection:
            found = await silences.find(connection, silence_id)
        if found is None or not found.holds(self._clock()):
            raise NotFound(f"there is no silence {silence_id}, or it has ended")
        return found

    async def end_silence(self, silence_id: str, *, by: str) -> None:
        """What still fires is told within seconds. Raises StoreUnavailable."""
        at = self._clock()
        await self._database.transaction(lambda connection: silences.end(connection, silence_id, at=at))
        log.info("silence_ended", id=silence_id, by=by)


def no_alert(alert_id: str) -> NotFound:
    """The same for one that is not there and for one that the caller may not see."""
    return NotFound(f"there is no alert {alert_id}: `GET /alerts` lists them, and resolved ones are kept 90 days")
