"""Probes that other packages bring, by the entry points of the group `central_hub.probes`. Loaded when first needed."""

import asyncio
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Protocol

import structlog

from central_hub.connections.health_probe import Probed

GROUP: Final = "central_hub.probes"
_LONGEST_REASON: Final = 200

log = structlog.get_logger()


class Probe(Protocol):
    """A probe of somebody's own: an async function, or a class whose instances are called as one.

    It is given the connection of the component with its credentials revealed, the options of its `probe` in the file,
    and until when it has time, in the time of the event loop; then it is cancelled. What it opens it closes, also then.
    It says `Probed(True)`, or `Probed(False, reason)` with a reason that shows no secret; `Probed(None, reason)` where
    it could not measure anything, which changes nothing of what is known of the component.
    """

    async def __call__(
        self, connection: Mapping[str, Any], options: Mapping[str, Any], deadline: float, /
    ) -> Probed: ...


class InstalledProbes:
    """Each kind is looked for and loaded once; one that cannot be loaded is found so every time it is needed."""

    def __init__(self) -> None:
        self._loaded: dict[str, Probe | Probed] = {}

    async def ask(
        self, kind: str, connection: Mapping[str, Any], options: Mapping[str, Any], deadline: float
    ) -> Probed:
        """What the probe says, or why there is none."""
        if kind not in self._loaded:
            # In a thread: all that is installed is looked through, and somebody's code is imported.
            self._loaded[kind] = await asyncio.to_thread(_load, kind)
        probe = self._loaded[kind]
        if isinstance(probe, Probed):
            return probe
        probed = await probe(connection, options, deadline)
        if not isinstance(probed, Probed):
            return Probed(None, f"the probe {kind} does not say what it found: it returned no Probed")
        return Probed(probed.ok, _tidy(probed.reason), probed.latency_ms)


def _load(kind: str) -> Probe | Probed:
    found: list[EntryPoint] = list(entry_points(group=GROUP, name=kind))
    if not found:
        return Probed(None, f"there is no probe of the kind {kind}: no installed package brings it")
    try:
        loaded = found[0].load()
        probe: Probe = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        log.exception("a probe cannot be loaded", kind=kind, entry_point=found[0].value)
        return Probed(None, f"the probe {kind} cannot be loaded: {type(error).__name__}; see the log of the hub")
    if not callable(probe):
        return Probed(None, f"the probe {kind} cannot be loaded: it is nothing that can be called")
    return probe


def _tidy(reason: str | None) -> str | None:
    """Fit for a line of a log and a table, whatever somebody's code made of an answer."""
    if reason is None:
        return None
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(reason)[:2000]).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"
