"""How long `central-hub up` takes to `/health/ready`: the first time, and with its data directory there."""

import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from bench.hub import CENTRAL_HUB
from bench.server import free_port, running


async def measure() -> list[Figure]:
    """A first start (with initdb) and a later one."""
    with (
        tempfile.TemporaryDirectory(prefix="hub-bench-") as directory,
        tempfile.TemporaryDirectory(prefix="hub-bench-log-") as logs,
    ):
        # The data directory itself: as root the servers run as another user, who could not pass through one of ours.
        seconds = [await _start(Path(directory), Path(logs) / "start.log") for _ in range(3)]
    later = min(seconds[1:])
    return [
        Figure("first start to ready", f"{seconds[0]:.1f} s", aim="<= 5 s", reached=seconds[0] <= 5),
        Figure("later start to ready", f"{later:.1f} s", aim="<= 2 s", reached=later <= 2),
    ]


async def _start(directory: Path, log: Path) -> float:
    port = free_port()
    started = time.perf_counter()
    argv = [CENTRAL_HUB, "up", "--port", str(port), "--data-dir", str(directory)]
    async with running(argv, port, log=log, ready_path="/health/ready"):
        return time.perf_counter() - started
