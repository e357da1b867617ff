"""A stream of the hub that is followed for as long as it takes."""

import random
import time
from typing import Final

from central_hub.cli.output import Output

_FIRST_WAIT_SECONDS: Final = 0.2
_LONGEST_WAIT_SECONDS: Final = 10.0


class Reconnecting:
    """What is said about the hub's being away, and when to try again."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._is_lost = False

    def heard(self) -> None:
        self._wait_seconds = _FIRST_WAIT_SECONDS
        if self._is_lost:
            self._output.note("the hub is back")
            self._is_lost = False

    def lost(self, reason: str) -> None:
        """Say so once, and wait a while: longer each time, and never in step with others."""
        if not self._is_lost:
            self._output.note(f"{reason}; trying again until it is back")
        self._is_lost = True
        time.sleep(random.uniform(0, self._wait_seconds))  # noqa: S311 - jitter
        self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)
