"""Telling callbacks and iterators what changed. A callback is never called by whoever makes the change, so one that
hangs, raises or calls back holds up nobody; what comes while it is busy reaches it as one change."""

import asyncio
import inspect
import logging
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic

from central_hub_client.binding import S
from central_hub_client.wire import Position

logger = logging.getLogger("central_hub_client")


@dataclass(frozen=True, slots=True)
class SettingsChange(Generic[S]):
    """The configuration before and after, and the dotted paths of the leaves that differ (a list is one leaf).

    `revision` and `epoch` are those of the hub's configuration that is part of `new`, None where none is. They need not
    have moved: files and sources change values too.
    """

    old: S
    new: S
    changed: tuple[str, ...]
    revision: int | None = None
    epoch: int | None = None

    def __repr__(self) -> str:
        # Without the values, which may be secrets.
        return f"SettingsChange(changed={self.changed!r}, revision={self.revision}, epoch={self.epoch})"


Callback = Callable[[SettingsChange[S]], Awaitable[None] | None]
Compare = Callable[[S, S], tuple[str, ...]]


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a dotted path fits: `*` is one key, `**` any number of them, none included."""
    expression = ""
    for key in pattern.split("."):
        expression += r"(?:\.[^.]+)*" if key == "**" else r"\.[^.]+" if key == "*" else re.escape(f".{key}")
    compiled = re.compile(expression)
    return lambda path: compiled.fullmatch(f".{path}") is not None


class Subscriber(Generic[S]):
    """One callback. A plain function runs in a thread that lives as long as there is something to tell; an async one
    on the event loop it was registered from, else in such a thread on a loop of its own."""

    def __init__(self, callback: Callback[S], pattern: str, seen: S, compare: Compare[S]) -> None:
        self._callback = callback
        self._fits = matcher(pattern)
        self._compare = compare
        self._seen = seen
        self._current = seen
        self._position: Position | None = None
        self._is_busy = False
        self._is_stopped = False
        self._lock = threading.Lock()
        self._loop = _running_loop() if inspect.iscoroutinefunction(callback) else None

    @property
    def belongs_to_a_loop(self) -> bool:
        return self._loop is not None

    def tell(self, current: S, position: Position | None = None) -> None:
        """`current` is what now counts, `position` that of the hub's configuration in it."""
        with self._lock:
            self._current, self._position = current, position
            if self._is_busy or self._is_stopped:
                return
            self._is_busy = True
        if self._loop is None:
            threading.Thread(target=self._deliver, name="central-hub callback", daemon=True).start()
        else:
            try:
                self._loop.call_soon_threadsafe(self._start_task)
            except RuntimeError:  # its event loop was closed
                self.stop()

    def stop(self) -> None:
        self._is_stopped = True

    def after_fork(self) -> None:
        """Begin anew in a child process, where no thread but the one that forked goes on."""
        self._lock = threading.Lock()
        self._is_busy = False

    def _start_task(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._deliver_async())  # kept: a loop holds tasks weakly

    def _next(self) -> SettingsChange[S] | None:
        """What there is to tell, None once there is nothing more."""
        while True:
            with self._lock:
                old, new, position = self._seen, self._current, self._position
                self._seen = new
                if old is new or self._is_stopped:
                    self._is_busy = False
                    return None
            changed = tuple(filter(self._fits, self._compare(old, new)))
            if changed:
                return _change(old, new, changed, position)

    def _deliver(self) -> None:
        while (change := self._next()) is not None:
            try:
                result = self._callback(change)
                if inspect.isawaitable(result):
                    asyncio.run(_awaited(result))
            # SystemExit would end this thread and no program, and the callback would never be told anything again.
            except (Exception, asyncio.CancelledError, SystemExit):
                logger.exception("a callback failed: changed=%s", ",".join(change.changed))

    async def _deliver_async(self) -> None:
        while (change := self._next()) is not None:
            try:
                result = self._callback(change)
                if inspect.isawaitable(result):
                    await result
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                logger.warning("a callback was cancelled from within: changed=%s", ",".join(change.changed))
            except Exception:
                logger.exception("a callback failed: changed=%s", ",".join(change.changed))


class Changes(Generic[S]):
    """Changes as an iterator for one event loop. It ends with the manager."""

    def __init__(self, pattern: str, seen: S, compare: Compare[S]) -> None:
        self._fits = matcher(pattern)
        self._compare = compare
        self._seen = seen
        self._told: tuple[S, Position | None] = seen, None
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._has_ended = False

    belongs_to_a_loop = True

    def tell(self, current: S, position: Position | None = None) -> None:
        # As one: the iterator reads both in another thread.
        self._told = current, position
        self._wake()

    def stop(self) -> None:
        self._has_ended = True
        self._wake()

    def after_fork(self) -> None:
        """Nothing: its event loop stayed in the parent."""

    async def __aiter__(self) -> AsyncIterator[SettingsChange[S]]:
        while not self._has_ended:
            await self._news.wait()
            self._news.clear()
            old, (new, position) = self._seen, self._told
            self._seen = new
            if old is not new and (changed := tuple(filter(self._fits, self._compare(old, new)))):
                yield _change(old, new, changed, position)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # its event loop was closed
            self._has_ended = True


def _change(old: S, new: S, changed: tuple[str, ...], position: Position | None) -> SettingsChange[S]:
    if position is None:
        return SettingsChange(old, new, changed)
    return SettingsChange(old, new, changed, position.revision, position.epoch)


async def _awaited(result: Awaitable[Any]) -> None:
    await result


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
