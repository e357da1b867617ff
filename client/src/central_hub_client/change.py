"""What differs between two configurations, and telling it to whoever asked to be told."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from central_hub_client import layers

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


Callback = Callable[[ConfigChange], Awaitable[None] | None]


def changed_paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The dotted paths of all leaves that differ, sorted."""
    before, after = _leaves(old), _leaves(new)
    common = before.keys() & after.keys()
    return tuple(
        sorted((before.keys() ^ after.keys()) | {path for path in common if not _same(before[path], after[path])})
    )


class Listener:
    """Calls one callback, one call at a time, with what changed since the last. A callback's errors stay with it."""

    def __init__(self, callback: Callback, seen: dict[str, Any]) -> None:
        self._callback = callback
        self._seen = seen
        self._current = seen
        self._news = asyncio.Event()

    def tell(self, current: dict[str, Any]) -> None:
        """`current` is what now counts. It is never altered, neither here nor by whoever calls this."""
        self._current = current
        self._news.set()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            old, new = self._seen, self._current
            self._seen = new
            if changed := changed_paths(old, new):
                await self._call(ConfigChange(layers.merge([old]), layers.merge([new]), changed))

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


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    stack: list[tuple[str, Any]] = [(key, value) for key, value in config.items()]
    while stack:
        path, value = stack.pop()
        if isinstance(value, Mapping) and value:
            stack.extend((f"{path}.{key}", item) for key, item in value.items())
        else:
            found[path] = value
    return found


def _same(one: Any, other: Any) -> bool:
    # 1 == True == 1.0 in Python, but not in JSON.
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return type(one) is type(other) and bool(one == other)
