"""The settings the service works with now, and where they come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from central_hub_client import ConfigManager, SettingsChange

from . import events
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Working:
    """Settings and where they come from. Taken at the start of each unit of work, and kept to its end."""

    settings: Settings
    revision: int | None
    freshness: Mapping[str, Any]

    @property
    def stamp(self) -> dict[str, Any]:
        """What every progress line says of its settings."""
        return {"revision": self.revision, **self.freshness}


class LiveSettings:
    """The manager's settings, swapped whole between two steps of the event loop that this was made in.

    Make it once the manager has started.
    """

    def __init__(self, manager: ConfigManager[Settings]) -> None:
        self._manager = manager
        self._listeners: list[Callable[[Settings, Settings], None]] = []
        manager.on_config_update(self._adopt)
        self._settings, self._revision = manager.current, manager.status.revision
        events.info("config_loaded", **self.current.stamp)

    @property
    def current(self) -> Working:
        status = self._manager.status
        return Working(self._settings, self._revision, {"source": status.source, "stale": status.stale})

    def on_change(self, listener: Callable[[Settings, Settings], None]) -> None:
        """Call `listener(old, new)` after every change."""
        self._listeners.append(listener)

    async def _adopt(self, change: SettingsChange[Settings]) -> None:
        old, self._settings, self._revision = self._settings, change.new, self._manager.status.revision
        events.info("config_changed", paths=change.changed, **self.current.stamp)
        for listener in self._listeners:
            listener(old, change.new)
