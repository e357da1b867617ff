"""Probes targets, each in a loop of its own, so that one that hangs delays no other."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.infrastructure import Component, ProbeSettings
from central_hub.monitoring.schedule import delay, first_delay

GRACE_SECONDS: Final = 1.0
"""A probe that has not ended so long after its own time-out is given up."""
SHARED_FOR_SECONDS: Final = 1.0
"""Whoever asks for a check within this time after another has begun gets the result of that."""

Ask = Callable[[Component], Awaitable[Probed]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Loop:
    component: Component
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class _Probe:
    component: Component
    began: float
    task: asyncio.Task[Probed]


class Prober:
    """Hands every result over, whoever asked for it. Of one target there is one probe at a time."""

    def __init__(self, ask: Ask, on_probed: Callable[[Component, Probed], None]) -> None:
        self.ask = ask
        self._on_probed = on_probed
        self._loops: dict[str, _Loop] = {}
        self._last: dict[str, _Probe] = {}
        self._hanging: dict[str, asyncio.Future[Probed]] = {}

    def watch(self, targets: Mapping[str, tuple[Component, ProbeSettings]]) -> None:
        """Probe exactly these from now on: loops of others end, and loops of what has changed begin anew."""
        for name, loop in list(self._loops.items()):
            if name not in targets or targets[name][0] != loop.component:
                self._loops.pop(name).task.cancel()
        for name, (component, settings) in targets.items():
            if name not in self._loops:
                task = asyncio.create_task(self._keep_probing(component, settings), name="probe-loop")
                self._loops[name] = _Loop(component, task)

    def forget(self, name: str) -> None:
        """There is no such target any more."""
        self._last.pop(name, None)

    async def stop(self) -> None:
        """End all loops and probes."""
        tasks = [*(loop.task for loop in self._loops.values()), *(probe.task for probe in self._last.values())]
        self._loops.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def probe(self, component: Component, settings: ProbeSettings, *, shared_for: float = 0.0) -> Probed:
        """Probe now; a probe that runs, or has begun within the last `shared_for` seconds, is shared."""
        last = self._last.get(component.name)
        if last is None or last.component != component or _is_over(last, shared_for):
            task = asyncio.create_task(self._probe(component, settings), name="probe")
            last = self._last[component.name] = _Probe(component, time.monotonic(), task)
        return await asyncio.shield(last.task)

    async def _keep_probing(self, component: Component, settings: ProbeSettings) -> None:
        await asyncio.sleep(first_delay(settings, random.random()))  # noqa: S311 - jitter
        while True:
            began = time.monotonic()
            await self.probe(component, settings)
            took = time.monotonic() - began
            await asyncio.sleep(delay(settings, took, random.random()))  # noqa: S311 - jitter

    async def _probe(self, component: Component, settings: ProbeSettings) -> Probed:
        probed = await self._ask_within(component, settings.timeout_seconds)
        try:
            self._on_probed(component, probed)
        except Exception:
            # The top of a background task: no result ends the loop that it came from.
            log.exception("probe_result_lost", target=component.name)
        return probed

    async def _ask_within(self, component: Component, timeout_seconds: float) -> Probed:
        """What the probe says, or, where it does not keep to its time, that it did not."""
        hangs = Probed(False, f"no answer within {timeout_seconds:g} s")
        if (left := self._hanging.get(component.name)) is not None and not left.done():
            return hangs  # it does not even end when it is cancelled: one of them is enough
        asking: asyncio.Future[Probed] = asyncio.ensure_future(self.ask(component))
        try:
            done, _ = await asyncio.wait({asking}, timeout=timeout_seconds + GRACE_SECONDS)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if done and not asking.cancelled():
            try:
                return asking.result()
            except Exception as error:  # noqa: BLE001
                # Without its message: in that there may be a credential.
                log.error("probe_failed", target=component.name, error=type(error).__name__)
                return Probed(None, f"its probe failed with {type(error).__name__}")
        asking.cancel()
        asking.add_done_callback(_see)
        self._hanging[component.name] = asking
        return hangs


def _is_over(probe: _Probe, shared_for: float) -> bool:
    return probe.task.done() and time.monotonic() - probe.began >= shared_for


def _see(asked: asyncio.Future[Probed]) -> None:
    """What becomes of a probe that was given up is of no interest, and must not be told as an error."""
    if not asked.cancelled():
        asked.exception()
