"""When an attempt to tell somebody is repeated. Pure."""

from typing import Final

FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 3600.0
MAX_ATTEMPTS: Final = 36
"""With the pauses between them about a day: somebody who is away for a night is told in the morning."""
_CERTAIN_SHARE: Final = 0.75


def next_attempt(attempts: int, draw: float, *, after_seconds: float | None = None) -> float | None:
    """The seconds until the next attempt when so many have failed, or None: give up.

    The pauses double up to an hour. `draw`, between 0 and 1, spreads what failed together. A receiver may ask for a
    longer pause with `after_seconds`, up to that hour.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    pause = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** (attempts - 1))
    pause *= _CERTAIN_SHARE + (1 - _CERTAIN_SHARE) * draw
    return max(pause, min(LONGEST_SECONDS, after_seconds or 0.0))
