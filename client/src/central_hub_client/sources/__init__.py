"""Where values come from besides the hub: files, environment variables, and whatever a service brings along.

A source that fails costs only its own news: what it said before stays, and the failure is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

OVERRIDE_PRIORITY: Final = 1000
ENVIRONMENT_PRIORITY: Final = 100
HUB_PRIORITY: Final = 60
ENVIRONMENT_FILE_PRIORITY: Final = 50
CUSTOM_PRIORITY: Final = 45
SERVICE_FILE_PRIORITY: Final = 40
DEFAULT_FILE_PRIORITY: Final = 10
SAFE_DEFAULTS_PRIORITY: Final = 5


class SourceFailed(Exception):
    """A source cannot be read. The message says where and why, and never repeats a value."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a source says: values, and for the JSON Pointer of each key the place it is written, such as `a.json:3`."""

    values: Mapping[str, Any] = field(repr=False)
    places: Mapping[str, str] = field(default_factory=dict)


class ConfigSource(Protocol):
    """A source of values. `load` may block; it is called in a background thread, at the start and after changes.

    `load` raises SourceFailed, OSError or ValueError where it has nothing to say for now. Values are what JSON can
    spell. A source may also be found by the entry point group `central_hub_client.sources`: a callable that takes the
    service's name and the environment and returns the source (its attribute `priority` counts, 45 without one).
    """

    name: str

    def load(self) -> Mapping[str, Any] | Loaded: ...


@runtime_checkable
class ChangingSource(Protocol):
    """A source that is loaded again whenever `fingerprint`, asked every second in the background, has another value."""

    def fingerprint(self) -> object: ...
