"""How long to wait before the next attempt: for the client that asks hubs, and for the hub that looks for its bus."""

import random


class Backoff:
    """Waits that double up to a limit; each is drawn at random below it ("full jitter"): a fleet spreads out."""

    def __init__(self, *, first_seconds: float = 0.2, limit_seconds: float = 30.0, least: float = 0.0) -> None:
        self._first = first_seconds
        self._limit = limit_seconds
        self._least = least
        self._attempts = 0

    def next(self) -> float:
        """The seconds to wait now; `least` is the share of them that is certain."""
        ceiling = min(self._limit, self._first * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        return ceiling * random.uniform(self._least, 1.0)  # noqa: S311 - spreads load, hides nothing

    def reset(self) -> None:
        self._attempts = 0
