"""The dates a configuration may name: `2026-11-01`, `today`, `today-7days`. Pure."""

import re
from datetime import date, timedelta
from typing import Final

_RELATIVE: Final = re.compile(r"today(?:-(\d{1,5})days?)?\Z")


def resolve(text: str, today: date) -> date:
    """The day that `text` means on the day `today`. Raises ValueError."""
    match = _RELATIVE.match(text)
    if match is None:
        return date.fromisoformat(text)
    return today - timedelta(days=int(match[1] or 0))
