"""BaseService: the parts of a service, started in order and stopped in reverse, and what the world is told of it."""

import asyncio
import inspect
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from central_hub_client.binding import S
from central_hub_client.config_client import START_SECONDS
from central_hub_client.config_manager import STOP_SECONDS, ConfigManager
from central_hub_client.keeper import note_orderly_end
from central_hub_client.vital_signs import VitalSigns
from central_hub_client.wire import HealthState

logger = logging.getLogger("central_hub_client")

PART_START_SECONDS: Final = 30.0
PART_STOP_SECONDS: Final = 10.0
DRAIN_SECONDS: Final = 10.0
CANCEL_SECONDS: Final = 2.0


class Part(Protocol):
    """Something that a service starts and stops: a pool, a server, a registration.

    Both methods may also be plain functions that return at once. A part whose `start` fails or is cancelled tidies up
    after itself, as `__aenter__` does: its `stop` is not called. It may also have `why_dead()`, `why_unready()` and
    `why_degraded()`, each None or a reason: that nothing helps but a new process, that it cannot serve for now, that it
    serves with something amiss.
    """

    def start(self) -> Awaitable[None] | None: ...

    def stop(self) -> Awaitable[None] | None: ...


P = TypeVar("P", bound=Part)


@dataclass(frozen=True, slots=True)
class Steps:
    """A part made of functions, for what has other names for them: `Steps(start=pool.open, stop=pool.close)`."""

    start: Callable[[], Awaitable[None] | None] = lambda: None
    stop: Callable[[], Awaitable[None] | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether all is well, and every reason why not."""

    ok: bool
    reasons: tuple[str, ...] = ()


class PartFailed(Exception):
    """A part did not start: it raised (then that is the cause), or its time was up."""


class BaseService(Generic[S]):
    """Runs a service once: its configuration first, then its parts in the order they were added, then `work`; and back.

    Subclass it and override `work`, or compose it: `service.add(part)`, then `run`. Whatever fails, is cancelled or
    takes too long, what was started is stopped, the last first, each part within its own deadline; the configuration
    goes last. A stale configuration is no reason to be unready, a missing one is. Without `config` it is only parts.

    The hub is told, where the configuration registers the instance: `starting` until the last part has started, then
    `healthy`, `degraded` or `unhealthy` as its parts are, `draining` to the end; then the instance is gone.
    """

    def __init__(
        self,
        config: ConfigManager[S] | None = None,
        *,
        name: str | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.name = name or (type(self).__name__ if config is None else config.service_name)
        self.draining = asyncio.Event()
        """Set once the service shall end: finish what is at hand, begin nothing new."""
        self._drain_seconds = drain_seconds
        self._config_part = None if config is None else _ConfigPart(config, self._state)
        self._parts: list[_Deadlines] = []
        if self._config_part is not None:
            self.add(self._config_part, name="config", start_seconds=START_SECONDS + 5, stop_seconds=STOP_SECONDS + 5)
        self._started: list[_Deadlines] = []
        self._is_started = False
        self._has_stopped = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def config(self) -> ConfigManager[S]:
        """The configuration it was made with. Raises RuntimeError where it was made without one."""
        if self._config_part is None:
            raise RuntimeError(f"{self.name} has no configuration")
        return self._config_part.config

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._suspect_config(error)
        await self.stop()

    def add(
        self,
        part: P,
        *,
        name: str | None = None,
        start_seconds: float | None = PART_START_SECONDS,
        stop_seconds: float = PART_STOP_SECONDS,
    ) -> P:
        """Add a part after those that are there, before the start; returns it. `start_seconds=None` lets it take its
        time."""
        self._parts.append(_Deadlines(name or type(part).__name__, part, start_seconds, stop_seconds))
        return part

    async def work(self) -> None:
        """What the service does between start and stop; when it returns or raises, the service stops.

        Look at `self.draining`: once it is set there are `drain_seconds` left before this is cancelled. By default it
        just waits for that, for services whose parts do the work.
        """
        await self.draining.wait()

    async def pause(self, seconds: float) -> None:
        """Sleep, and wake as soon as draining begins."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.draining.wait()

    def main(self) -> None:
        """Run as the whole of this process."""
        asyncio.run(self.run())

    async def run(self) -> None:
        """Start, work, stop. SIGTERM and SIGINT begin draining; the second one ends the process at once.

        Returns after an orderly end. Raises PartFailed, what `work` raised, and CancelledError when cancelled.
        """
        with self._signals():
            try:
                await self._unless_drained(self.start(), 0.0, None)  # its parts have deadlines of their own
                if self._is_started:
                    await self._unless_drained(self.work(), self._drain_seconds, CANCEL_SECONDS)
            except Exception as error:
                self._suspect_config(error)
                raise
            finally:
                await self.stop()

    async def start(self) -> None:
        """Start everything. Raises PartFailed, or CancelledError when cancelled; both after stopping what ran."""
        if self._has_stopped:
            raise RuntimeError("a service runs once: make another")
        try:
            for entry in self._parts[len(self._started) :]:
                await entry.start()
                self._started.append(entry)
                logger.info("started: service=%s part=%s", self.name, entry.name)
        except BaseException as error:
            self._suspect_config(error)
            await self.stop()
            raise
        self._is_started = True
        self._look()

    async def stop(self) -> None:
        """Stop everything that was started, to the end, also when this is cancelled meanwhile."""
        self._has_stopped = True
        self.draining.set()
        self._look()
        await _to_the_end(self._stop_all())

    def drain(self) -> None:
        """Begin to end: no longer ready, and `run` goes on to its stop."""
        if not self.draining.is_set():
            logger.info("draining: service=%s", self.name)
        self.draining.set()
        self._look()

    @property
    def is_drained_by_operator(self) -> bool:
        """Whether an operator took this instance out of routing (`central-hub drain`), as the hub said last.

        That ends nothing, and the operator may take it back: `work` may look at it, to take no new jobs meanwhile.
        """
        return self._config_part is not None and self._config_part.config.is_drained

    @property
    def liveness(self) -> Health:
        """Whether this process is worth keeping."""
        return _health(_reasons(self._started, "why_dead"))

    @property
    def soundness(self) -> Health:
        """Whether all is as it should be. What serves with something amiss is `degraded`."""
        return _health(_reasons(self._started, "why_degraded"))

    @property
    def readiness(self) -> Health:
        """Whether requests should come here now."""
        reasons = []
        if self.draining.is_set():
            reasons.append("the service is draining")
        elif not self._is_started:
            reasons += [f"{entry.name}: not started yet" for entry in self._parts[len(self._started) :]]
        return _health([*reasons, *_reasons(self._started, "why_dead"), *_reasons(self._started, "why_unready")])

    def _suspect_config(self, error: BaseException | None) -> None:
        if self._config_part is not None and isinstance(error, Exception):
            self._config_part.ends_in_good_order = False

    def _look(self) -> None:
        if self._config_part is not None:
            self._config_part.vital_signs.look()

    def _state(self) -> HealthState:
        if self.draining.is_set():
            return HealthState.DRAINING
        if not self.liveness.ok:
            return HealthState.UNHEALTHY
        if not self._is_started:
            return HealthState.STARTING
        if not self.readiness.ok:
            return HealthState.UNHEALTHY
        return HealthState.HEALTHY if self.soundness.ok else HealthState.DEGRADED

    async def _stop_all(self) -> None:
        while self._started:
            await self._started.pop().stop()

    async def _unless_drained(
        self, work: Coroutine[Any, Any, None], grace_seconds: float, cancel_seconds: float | None
    ) -> None:
        """Do `work`, and once draining has begun go on with it only so long; then cancel it, and wait for that.

        Raises what it raises.
        """
        working, draining = asyncio.create_task(work), asyncio.create_task(_set(self.draining))
        try:
            await asyncio.wait({working, draining}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await asyncio.wait({working}, timeout=grace_seconds)
        finally:
            draining.cancel()
            if not working.done():
                working.cancel()
                await _to_the_end(_settled(working, cancel_seconds))
        if not working.done():
            logger.error("the work does not end, it is left behind: service=%s", self.name)
        elif not working.cancelled():
            working.result()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            logger.info("signals are left alone, this is not the main thread: service=%s", self.name)
            yield
            return
        loop = asyncio.get_running_loop()
        caught = (signal.SIGTERM, signal.SIGINT)
        # Not the loop's own handlers: a second signal must also end a process whose loop is held up.
        before = {number: signal.getsignal(number) for number in caught}

        def begin_to_end(_number: int, _frame: FrameType | None) -> None:
            for number in caught:
                signal.signal(number, signal.SIG_DFL)
            # At once, and in a thread: whoever drains for too long is killed, and the event loop may be held up.
            threading.Thread(target=note_orderly_end, daemon=True).start()
            loop.call_soon_threadsafe(self.drain)

        for number in caught:
            signal.signal(number, begin_to_end)
        try:
            yield
        finally:
            for number, handler in before.items():
                # None: it was not installed by Python, and cannot be put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@dataclass(frozen=True, slots=True)
class _Deadlines:
    """A part, and how long it may take."""

    name: str
    part: Part
    start_seconds: float | None
    stop_seconds: float

    async def start(self) -> None:
        task = asyncio.create_task(_called(self.part.start))
        try:
            await asyncio.wait({task}, timeout=self.start_seconds)
        except asyncio.CancelledError:
            await self._undo(task)
            raise
        if not task.done():
            await self._undo(task)
            raise PartFailed(f"{self.name} did not start within {self.start_seconds:g} s")
        if task.cancelled():
            raise PartFailed(f"{self.name} was cancelled from within while it started")
        if (error := task.exception()) is not None:
            raise PartFailed(f"{self.name} did not start: {type(error).__name__}") from error

    async def stop(self) -> None:
        task = asyncio.create_task(_called(self.part.stop))
        await asyncio.wait({task}, timeout=self.stop_seconds)
        if not task.done():
            logger.error("a part did not stop in time: part=%s seconds=%g", self.name, self.stop_seconds)
        await self._given_up(task, CANCEL_SECONDS)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a part failed to stop: part=%s", self.name, exc_info=error)

    async def _undo(self, starting: asyncio.Future[None]) -> None:
        await self._given_up(starting, self.stop_seconds)
        if starting.done() and not starting.cancelled() and starting.exception() is None:
            await _to_the_end(self.stop())  # it was given up, and started all the same

    async def _given_up(self, task: asyncio.Future[None], seconds: float) -> None:
        """Cancel what still runs, and wait so long for it: code that swallows that must not hold up the rest."""
        if not task.done():
            task.cancel()
            await _to_the_end(_settled(task, seconds))
            if not task.done():
                logger.error("a part does not end, it is left behind: part=%s", self.name)


class _ConfigPart:
    """The configuration of a service, and what its heartbeats say of the service meanwhile."""

    def __init__(self, config: ConfigManager[Any], state: Callable[[], HealthState]) -> None:
        self.config = config
        self.vital_signs = VitalSigns(state, config.report_soon)
        self.ends_in_good_order = True

    async def start(self) -> None:
        self.vital_signs.start()
        self.config.report_state(self.vital_signs.state)
        try:
            await self.config.start_async()
        except BaseException:
            self.vital_signs.stop()
            raise

    async def stop(self) -> None:
        self.vital_signs.stop()
        await self.config.stop_async(in_good_order=self.ends_in_good_order)

    def why_unready(self) -> str | None:
        return self.config.why_incomplete


def _health(reasons: list[str]) -> Health:
    return Health(not reasons, tuple(reasons))


def _reasons(entries: list[_Deadlines], question: str) -> list[str]:
    found = []
    for entry in entries:
        why = getattr(entry.part, question, None)
        if why is not None and (reason := why()) is not None:
            found.append(f"{entry.name}: {reason}")
    return found


async def _called(function: Callable[[], Awaitable[None] | None]) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _settled(task: asyncio.Future[None], timeout_seconds: float | None) -> None:
    await asyncio.wait({task}, timeout=timeout_seconds)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end, and only then pass on a cancellation that came meanwhile."""
    task = asyncio.ensure_future(work)
    was_cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            was_cancelled = True
    if was_cancelled:
        raise asyncio.CancelledError
    task.result()
