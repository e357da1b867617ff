"""A restore that kills its own process at a chosen step: `python -m tests.faults.restoring FILE STEP`.

The steps are reached by replacing functions of the hub in this process: the product has no hooks for it.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from central_hub.backup import restore
from central_hub.cli.program import app
from central_hub.connections.database import Database

STEPS = (
    "after_verifying",
    "after_migrating",
    "before_the_first_rows",
    "between_tables",
    "after_the_last_rows",
    "before_committing",
    "after_committing",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(place: Any, name: str, *, calls: int = 1) -> None:
    """Let a function be done `calls` times, and then nothing more."""
    function: Callable[..., Any] = getattr(place, name)
    done = 0

    async def work(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        result = await function(*arguments, **named)
        done += 1
        if done == calls:
            die()
        return result

    setattr(place, name, work)


def arm(step: str) -> None:
    match step:
        case "after_verifying":
            die_after(restore.schema, "lock")
        case "after_migrating":
            die_after(restore.schema, "migrate")
        case "before_the_first_rows":
            die_after(restore.backup, "columns")
        case "between_tables":
            die_after(restore.backup, "load", calls=2)
        case "after_the_last_rows":
            die_after(restore._Loader, "flush")
        case "before_committing":
            die_after(restore.schema, "upgrade")
        case "after_committing":
            die_after(Database, "transaction")


if __name__ == "__main__":
    arm(sys.argv[2])
    app(["restore", sys.argv[1]])
