"""Lists of instances on disk, for processes that start while the hub is dead.

Shared by all processes of this machine that ask for the same: the last one writes.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from central_hub_client import checked_file
from central_hub_client.client_settings import ClientSettings
from central_hub_client.service_instance import ServiceInstance

logger = logging.getLogger("central_hub_client")

FOLDER: Final = "_directory"
"""In the cache directory, beside the services' own; no service can be called so."""


class RememberedInstances:
    """The list of one service. Everything here blocks."""

    def __init__(self, settings: ClientSettings, service: str, environment: str) -> None:
        self._hub_url = settings.hub_url
        cache = settings.cache_dir
        self._path: Path | None = None if cache is None else cache / FOLDER / environment / f"{service}.json"
        self._written: tuple[ServiceInstance, ...] | None = None

    def read(self) -> tuple[tuple[ServiceInstance, ...], float] | None:
        """The list, and when it was last confirmed, by the wall clock; None where there is none of this hub."""
        found = None if self._path is None else checked_file.read(self._path, self._parse)
        if found is not None:
            self._written = found[0]
        return found

    def write(self, instances: Sequence[ServiceInstance]) -> None:
        """Keep the list, or note that it is still right."""
        if self._path is None:
            return
        try:
            if tuple(instances) == self._written:
                with suppress(FileNotFoundError):
                    os.utime(self._path)
            elif checked_file.make_private(self._path.parent):
                told = [instance.to_json() for instance in instances]
                checked_file.write(self._path, {"hub_url": self._hub_url, "instances": told})
                self._written = tuple(instances)
        except OSError as error:
            logger.warning("the list of instances is not kept: %s: %s", self._path.name, error)

    def _parse(self, content: Any, written_at: float) -> tuple[tuple[ServiceInstance, ...], float]:
        if content["hub_url"] != self._hub_url:
            raise ValueError("it is of another hub")
        return tuple(ServiceInstance.from_json(value) for value in content["instances"]), written_at
