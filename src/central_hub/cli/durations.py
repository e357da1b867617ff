"""Durations as people write them: 30d, 12h, 90m."""

import re
from datetime import timedelta
from typing import Final

from central_hub.cli.session import ExitCode, Failed

_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes"}


def duration(text: str) -> timedelta:
    """The duration. Raises Failed."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([dhm])", text)
    if match is None:
        raise Failed(f"{text!r} is no duration: write 30d, 12h or 90m", code=ExitCode.USAGE)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
