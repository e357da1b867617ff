"""Waiting for what happens in the background."""

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], bool], *, within: float = 10.0) -> float:
    """Wait until `condition` holds; returns how many seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, f"it did not happen within {within:g} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - started
