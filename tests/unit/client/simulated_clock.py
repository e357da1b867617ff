"""An event loop whose time is made up: where it would wait, the clock moves on instead."""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any

import pytest


class _Selector(selectors.SelectSelector):
    """Never waits: it moves the clock by as long as it was told to."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for somebody else"
        self.now += timeout
        return super().select(0)


def run_simulated(work: Coroutine[Any, Any, None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `work`, which uses no threads and no sockets, with `time.monotonic` and all timers on the made-up clock."""
    selector = _Selector()
    with (
        monkeypatch.context() as patch,
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner,
    ):
        patch.setattr(time, "monotonic", lambda: selector.now)
        runner.run(work)
