"""How a service is, measured on its own event loop, for the heartbeats that another thread sends.

A heartbeat from a thread of its own would go on saying `healthy` of a service whose event loop is stuck. So the last
measurement counts only while it is fresh.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from central_hub_client.wire import HealthState

logger = logging.getLogger("central_hub_client")

LOOK_SECONDS: Final = 1.0
HELD_UP_SECONDS: Final = 10.0
"""An event loop that has not come round for so long serves nobody."""


class VitalSigns:
    """Calls `measure` every second, and `tell` where that gives another state. Everything but `state` belongs to the
    event loop."""

    def __init__(self, measure: Callable[[], HealthState], tell: Callable[[], None]) -> None:
        self._measure = measure
        self._tell = tell
        self._last = HealthState.STARTING
        self._looked_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def state(self) -> HealthState:
        """As of now; from any thread."""
        return HealthState.UNHEALTHY if self._is_held_up else self._last

    def start(self) -> None:
        """Measure from now on."""
        if self._task is None:
            self._looked_at = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="central-hub vital signs")

    def stop(self) -> None:
        """Measure a last time; that stands."""
        self.look()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def look(self) -> None:
        """Measure now."""
        try:
            found = self._measure()
        except Exception:  # what parts say of themselves is their own code: a bug there is no health, and ends nothing
            logger.exception("the health of the service cannot be told")
            found = HealthState.UNHEALTHY
        is_news = found is not self._last or self._is_held_up
        self._last, self._looked_at = found, time.monotonic()
        if is_news:
            self._tell()

    @property
    def _is_held_up(self) -> bool:
        return self._task is not None and time.monotonic() - self._looked_at > HELD_UP_SECONDS

    async def _run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)
