"""The settings the service works with now: the last ones from the hub that it could understand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

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
    """Swapped whole, between two units of work. `freshness` says, whenever asked, where they come from and how old."""

    def __init__(
        self, settings: Settings, *, freshness: Callable[[], Mapping[str, Any]] = lambda: {"source": "defaults"}
    ) -> None:
        self._settings = settings
        self._revision: int | None = None
        self._freshness = freshness
        self._listeners: list[Callable[[Settings, Settings], None]] = []

    @property
    def current(self) -> Working:
        return Working(self._settings, self._revision, self._freshness())

    def on_change(self, listener: Callable[[Settings, Settings], None]) -> None:
        """Call `listener(old, new)` after every change."""
        self._listeners.append(listener)

    def adopt(self, config: Mapping[str, Any], revision: int | None, paths: tuple[str, ...] = ()) -> None:
        """Work with `config` from the next unit on; what cannot be understood is refused whole, and said.

        `paths` names what changed; empty for the configuration that the service starts with.
        """
        try:
            new = Settings.model_validate(config)
        except ValidationError as error:
            # Without the values: nobody knows what somebody pasted into the wrong field.
            reasons = [
                f"{'.'.join(map(str, finding['loc']))}: {finding['msg']}"
                for finding in error.errors(include_input=False, include_url=False, include_context=False)
            ]
            events.warning("config_refused", refused_revision=revision, reasons=reasons, **self.current.stamp)
            return
        old, self._settings, self._revision = self._settings, new, revision
        events.info("config_changed" if paths else "config_loaded", paths=paths, **self.current.stamp)
        for listener in self._listeners:
            listener(old, new)
