"""One source as it is watched: loaded when it has changed, and again after a while when it could not be."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from central_hub_client.sources import ChangingSource, ConfigSource, Loaded, SourceFailed

logger = logging.getLogger("central_hub_client")

RETRY_SECONDS: Final = 30.0


class WatchedSource:
    """A source, when it was loaded, and what went wrong."""

    def __init__(self, priority: int, source: ConfigSource) -> None:
        self.priority = priority
        self.source = source
        self.failure: str | None = None
        self._fingerprint: object = None
        self._is_loaded = False
        self._not_before = 0.0

    def load(self) -> Loaded | None:
        """What it says now, None where that is not news or cannot be had."""
        fingerprint: object = None
        try:
            if isinstance(self.source, ChangingSource):
                fingerprint = self.source.fingerprint()
            is_same = fingerprint == self._fingerprint
            if is_same and (self._is_loaded or time.monotonic() < self._not_before):
                return None
            values = self.source.load()
            loaded = values if isinstance(values, Loaded) else Loaded(values)
            if not isinstance(loaded.values, Mapping):
                raise SourceFailed(f"{self.source.name}: the whole must be one object")
            # A copy, which its owner cannot alter, of what JSON can spell.
            loaded = replace(loaded, values=json.loads(json.dumps(loaded.values, allow_nan=False)))
        except Exception as error:  # noqa: BLE001 - it may be anybody's code
            failure = str(error) if isinstance(error, SourceFailed) else f"{self.source.name}: {type(error).__name__}"
            if failure != self.failure:
                logger.error("a source cannot be read, what it said before stays: %s", failure)
            self.failure, self._is_loaded = failure, False
            self._fingerprint, self._not_before = fingerprint, time.monotonic() + RETRY_SECONDS
            return None
        self.failure, self._is_loaded, self._fingerprint = None, True, fingerprint
        return loaded
