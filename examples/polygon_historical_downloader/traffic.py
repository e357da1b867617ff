"""What every request waits for: a free slot, its turn in the rate, and a circuit that is closed."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from . import circuit, events
from .circuit import Circuit
from .live_settings import LiveSettings

# How soon a change of the rate, and a stop, reach a request that is waiting for its turn.
_GLANCE_SECONDS = 0.2


class Stopped(Exception):
    """The service is stopping: no new unit of work begins."""


class Unwanted(Exception):
    """While the request waited, the settings changed and nobody wants its answer any more."""


class Traffic:
    """One per API key. The limits are read from the settings whenever a request asks to pass."""

    def __init__(self, live: LiveSettings) -> None:
        self._live = live
        self._stop = asyncio.Event()
        self._slots = asyncio.Condition()
        self._queue: deque[object] = deque()
        self._in_flight = 0
        self._turn = asyncio.Lock()
        self._last_sent = float("-inf")
        self._held_until = float("-inf")
        self._circuit = Circuit()

    @asynccontextmanager
    async def admission(self, still_wanted: Callable[[], bool]) -> AsyncIterator[None]:
        """Hold one of `max_parallel` slots; entered when rate, server and circuit let the request pass.

        Whoever enters says how it went: `answered` or `failed`. Raises Stopped, and Unwanted as soon as the request is
        not `still_wanted`: then it takes nobody's turn.
        """
        ticket = object()
        async with self._slots:
            # First come, first served: otherwise a series that just got its page would take the slot it gives back,
            # and one that was added meanwhile would wait until another is finished.
            self._queue.append(ticket)
            try:
                await self._slots.wait_for(lambda: self._queue[0] is ticket and self._has_free_slot())
                self._in_flight += 1
            finally:
                self._queue.remove(ticket)
                self._slots.notify_all()
        try:
            await self._wait_for_turn(still_wanted)
            yield
        finally:
            self._circuit = circuit.released(self._circuit)
            async with self._slots:
                self._in_flight -= 1
                self._slots.notify_all()

    async def pause(self, seconds: float) -> None:
        """Sleep, but not past a stop. Raises nothing: the next turn does."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    def hold(self, seconds: float) -> None:
        """Send nothing for a while: the server asked for it."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    def answered(self) -> None:
        """A request was answered, with whatever it was."""
        if self._circuit.is_open:
            events.info("circuit_closed", **self._live.current.stamp)
        self._circuit = Circuit()

    def failed(self) -> None:
        """A request was not answered in any usable way."""
        working = self._live.current
        was_open = self._circuit.is_open
        threshold = working.settings.circuit_breaker.failure_threshold
        self._circuit = circuit.failed(self._circuit, now=time.monotonic(), threshold=threshold)
        if self._circuit.is_open and not was_open:
            recovery_seconds = working.settings.circuit_breaker.recovery_timeout_seconds
            events.warning("circuit_opened", recovery_timeout_seconds=recovery_seconds, **working.stamp)

    def stop(self) -> None:
        self._stop.set()

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    def _has_free_slot(self) -> bool:
        return self._in_flight < self._live.current.settings.operational.max_parallel

    async def _wait_for_turn(self, still_wanted: Callable[[], bool]) -> None:
        async with self._turn:
            while True:
                if self._stop.is_set():
                    raise Stopped
                if not still_wanted():
                    raise Unwanted
                settings = self._live.current.settings
                now = time.monotonic()
                due = max(self._last_sent + 1 / settings.download.rate_limit_per_sec, self._held_until)
                if now < due:
                    await self.pause(min(due - now, _GLANCE_SECONDS))
                    continue
                recovery_seconds = settings.circuit_breaker.recovery_timeout_seconds
                admitted = circuit.admit(self._circuit, now=now, recovery_seconds=recovery_seconds)
                if admitted is None:
                    await self.pause(_GLANCE_SECONDS)
                    continue
                self._circuit, self._last_sent = admitted, now
                return
