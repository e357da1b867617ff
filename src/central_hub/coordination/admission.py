"""How many registrations are let in at once, and when the others are to come again. Pure.

After an outage a whole fleet registers within a second. Each registration is a transaction, and all of them together
would keep heartbeats and reads waiting for longer than callers do.
"""

import math
from typing import Final

from central_hub.errors import TooManyRegistrations

MOST_WAITING: Final = 1_000
"""To wait costs nothing, and to come again costs something. They are taken in a few seconds: callers do not give up,
and a deployment of that many instances notices nothing."""
BOOKED_A_SECOND: Final = 250
"""Less than half of what one core registers: the more of them are back, the more heartbeats there are beside. Who comes
to a hub that is slower than that is turned away again, which costs it little."""
LATEST_SECONDS: Final = 60


class Admission:
    """Gives those who are turned away times of their own, so that they do not come all together again."""

    def __init__(self) -> None:
        self._waiting = 0
        self._booked_until = 0.0

    def enter(self, now: float) -> None:
        """Let one in, who leaves by `leave`. Raises TooManyRegistrations. `now` is in seconds, of any clock."""
        if self._waiting >= MOST_WAITING:
            raise self.refusal(now)
        self._waiting += 1

    def leave(self) -> None:
        self._waiting -= 1

    def refusal(self, now: float) -> TooManyRegistrations:
        """What one is told who has to come again: when, which is another time for each."""
        self._booked_until = max(self._booked_until, now) + 1 / BOOKED_A_SECOND
        seconds = min(math.ceil(self._booked_until - now), LATEST_SECONDS)
        return TooManyRegistrations(
            "too many instances register at once: this one has its turn after the seconds that Retry-After tells",
            headers={"Retry-After": str(seconds)},
        )
