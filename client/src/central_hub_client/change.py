"""What differs between two configurations, and telling it to whoever asked to be told."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from central_hub_client import layers
from central_hub_client.blocking import run_blocking

logger = logging.getLogger("central_hub_client")


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A change of the configuration that a service sees (the hub's over its safe defaults).

    `old` and `new` are copies of the listener's own. `changed` names the leaves that were added, removed or replaced,
    as `get_value` spells them: `operational.batch_size`; a list counts as one leaf. Changes that came while a listener
    was busy reach it as one.
    """

    old: dict[str, Any]
    new: dict[str, Any]
    changed: tuple[str, ...]


_NOTHING: Final = object()

Callback = Callable[[ConfigChange], Awaitable[None] | None]


def changed_paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The dotted paths of all leaves that differ, sorted."""
    found: list[str] = []
    _collect(old, new, "", found)
    return tuple(sorted(found))


class Listener:
    """Calls one callback, one call at a time, with what changed since the last. A callback's errors stay with it."""

    def __init__(self, callback: Callback, seen: dict[str, Any]) -> None:
        self._callback = callback
        self._seen = seen
        self._current = seen
        self._news = asyncio.Event()
        self._is_stopped = False

    def tell(self, current: dict[str, Any]) -> None:
        """`current` is what now counts. It is never altered, neither here nor by whoever calls this."""
        self._current = current
        self._news.set()

    def stop(self) -> None:
        """Tell nothing more."""
        self._is_stopped = True
        self._news.set()

    async def run(self) -> None:
        while not self._is_stopped:
            await self._news.wait()
            self._news.clear()
            old, new = self._seen, self._current
            self._seen = new
            # In a thread: comparing and copying a large configuration would hold up the event loop.
            change = await run_blocking(_compare, old, new)
            if change.changed and not self._is_stopped:
                await self._call(change)

    async def _call(self, change: ConfigChange) -> None:
        try:
            result = self._callback(change)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            logger.warning("a configuration listener was cancelled from within")
        except Exception:  # a listener's bug must not stop updates for the others
            logger.exception("a configuration listener failed: changed=%s", ",".join(change.changed))


def _compare(old: dict[str, Any], new: dict[str, Any]) -> ConfigChange:
    return ConfigChange(layers.merge([old]), layers.merge([new]), changed_paths(old, new))


def _collect(old: Any, new: Any, path: str, found: list[str]) -> None:
    """Add the leaves below `path` that differ; what is missing on one side is `_NOTHING`."""
    before, after = _children(old), _children(new)
    was_leaf, is_leaf = not before and old is not _NOTHING, not after and new is not _NOTHING
    if path and (was_leaf or is_leaf) and not _same(old, new):
        found.append(path)
    prefix = f"{path}." if path else ""
    for key in before.keys() | after.keys():
        one, other = before.get(key, _NOTHING), after.get(key, _NOTHING)
        if isinstance(one, dict) or isinstance(other, dict) or not _same(one, other):
            _collect(one, other, prefix + key, found)


def _children(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _same(one: Any, other: Any) -> bool:
    # 1 == True == 1.0 in Python, but not in JSON.
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return type(one) is type(other) and bool(one == other)
