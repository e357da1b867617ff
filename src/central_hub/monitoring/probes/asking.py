"""Asks a component, once: never raises, and is back in time whatever the target or a library does."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from central_hub.connections.health_probe import NOT_LOOKED_UP, Probed, failure
from central_hub.connections.name_resolver import NameResolver
from central_hub.monitoring.infrastructure import Component, ProbeSettings
from central_hub.monitoring.probes import clickhouse, http, kafka, nats, postgres, redis, tcp
from central_hub.monitoring.probes.connection import Connection, Unusable, read_connection
from central_hub.monitoring.probes.installed import InstalledProbes
from central_hub.monitoring.probes.options import OPTIONS, ProbeOptions, check_options
from central_hub.monitoring.probes.reach import Found, Reach

log = structlog.get_logger()

_BUILT_IN: Final[Mapping[str, Callable[..., Any]]] = {
    "http": http.ask,
    "tcp": tcp.ask,
    "postgres": postgres.ask,
    "redis": redis.ask,
    "nats": nats.ask,
    "clickhouse": clickhouse.ask,
    "kafka": kafka.ask,
}
_END_SECONDS: Final = 2.0
"""How long a probe that was cancelled may take to end before it counts as stuck."""


class Probes:
    """All kinds of probes. `reveal` puts the values of credentials in the place of the references to them."""

    def __init__(self, reveal: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        self._reveal = reveal
        self._names = NameResolver()
        self._installed = InstalledProbes()
        self._running: set[asyncio.Task[Probed]] = set()
        self._left: dict[str, asyncio.Task[Probed]] = {}
        """The probes that were left because their time was over and that have not ended yet, by component."""

    async def ask(self, component: Component) -> Probed:
        """How it is, within the timeout of its probe. Probes of one component may run at once."""
        settings = component.probe
        if settings is None:
            return Probed(None, "it is not probed")
        timeout = settings.timeout_seconds
        left = self._left.get(component.name)
        if left is not None and not (await asyncio.wait({left}, timeout=min(_END_SECONDS, timeout)))[0]:
            return Probed(False, "no answer: the probe before this one has not ended")
        reach = Reach(self._names, asyncio.get_running_loop().time() + timeout)
        task = asyncio.create_task(self._measure(component, settings, reach), name=f"probe {component.name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout)
        except asyncio.CancelledError:
            self._leave(component.name, task)
            raise
        if done and not task.cancelled():
            return task.result()
        self._leave(component.name, task)
        return _too_late(settings, reach)

    async def close(self) -> None:
        """Leave what is running, and give it a moment to close what it opened."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_END_SECONDS)

    def _leave(self, name: str, task: asyncio.Task[Probed]) -> None:
        # It closes its sockets behind the back of the caller, who has his answer in time.
        task.cancel()
        self._left[name] = task

        def end(ended: asyncio.Task[Probed]) -> None:
            if self._left.get(name) is ended:
                del self._left[name]

        task.add_done_callback(end)

    async def _measure(self, component: Component, settings: ProbeSettings, reach: Reach) -> Probed:
        kind = settings.kind
        try:
            revealed, options = self._reveal(component.connection), self._reveal(settings.options)
        except (ValueError, OSError) as error:
            return Probed(None, str(error) if isinstance(error, ValueError) else "a credential cannot be read")
        try:
            if kind not in _BUILT_IN:
                return await self._installed.ask(kind, revealed, options, reach.deadline)
            probed: Probed = await _BUILT_IN[kind](*_understood(kind, revealed, options), reach)
            return probed
        except Found as found:
            return found.probed
        except Unusable as error:
            return Probed(None, str(error))
        except TimeoutError:
            return _too_late(settings, reach)
        except OSError as error:
            return failure(error)
        except Exception as error:  # noqa: BLE001
            # Without its message and its traceback: in those there may be what the server said, or a credential.
            log.error("a probe broke", component=component.name, kind=kind, error=type(error).__name__)
            return Probed(False, f"the probe {kind} broke: {type(error).__name__}; see the log of the hub")


def _too_late(settings: ProbeSettings, reach: Reach) -> Probed:
    return NOT_LOOKED_UP if reach.is_looking_up else Probed(False, f"no answer within {settings.timeout_seconds:g} s")


def _understood(
    kind: str, connection: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Connection, ProbeOptions]:
    """Raises Unusable where no probe can be made of what the file says."""
    for path, sentence in check_options(kind, options):
        raise Unusable(f"the options of its probe are not right: {'.'.join(map(str, path))}: {sentence}")
    return read_connection(connection), OPTIONS[kind].model_validate(dict(options))
