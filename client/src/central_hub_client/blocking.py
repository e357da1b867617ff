"""Blocking work, and waiting for other threads, from within an event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread`, also while the interpreter ends: then there are no more threads to be had, and nobody whom
    it could keep waiting, so it happens at once."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except RuntimeError as error:
        if "shutdown" not in str(error):  # "cannot schedule new futures after interpreter shutdown": it has no class
            raise
        return function(*args, **kwargs)


async def wait_for_future(future: Future[None], seconds: float) -> None:
    """Wait until it is done, for so long at most. Never cancels it, and outlives the event loop."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: object) -> None:
        with suppress(RuntimeError):  # whoever waited is gone, and its event loop with it
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()
