"""Blocking work from within an event loop."""

import asyncio
from collections.abc import Callable
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
