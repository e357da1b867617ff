"""What a client costs a process that has nothing to do, in memory and wake-ups, and whether it holds up an event loop.

Run as a program it is that process: `python -m bench.client_idle bare|managed SECONDS` or `… lag URL`.
"""

import asyncio
import importlib
import json
import resource
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil

from bench.figures import Figure
from bench.hub import Hub, Servers, running_hub
from bench.reads import LARGE, PILOT, documents
from central_hub_client import ConfigManager

AIM_BYTES: Final = 2_000_000
AIM_LAG_SECONDS: Final = 0.010
_TICK_SECONDS: Final = 0.001
_IMPORTS: Final = ("pydantic", "httpx2", "httpcore2", "h11", "anyio.streams.tls", "anyio._backends._asyncio")
"""What a service that speaks HTTP has loaded anyway; httpx2 loads the last ones with the first request."""
_RUNNING: Final = b"running\n"


async def measure(servers: Servers, *, quick: bool) -> list[Figure]:
    """Processes of their own, with the same imports, one of them with a running manager."""
    async with running_hub(servers) as hub:
        for name in (PILOT, LARGE):
            await hub.put(name, documents()[name])
        return [*await _idle(hub, 2.0 if quick else 20.0), await _lag(hub, rounds=1 if quick else 5)]


async def _idle(hub: Hub, seconds: float) -> list[Figure]:
    bare, managed = [await _ask(hub, kind, str(seconds)) for kind in ("bare", "managed")]
    cost = managed["bytes"] - bare["bytes"]
    return [
        Figure(
            "memory of an idle client",
            f"{cost / 1e6:.1f} MB",
            f"the same imports {bare['bytes'] / 1e6:.0f} MB",
            aim="< 2 MB",
            reached=cost < AIM_BYTES,
        ),
        Figure("… wakes its process", f"{managed['wakes']:.1f} times a second", f"without {bare['wakes']:.1f}"),
    ]


async def _lag(hub: Hub, *, rounds: int) -> Figure:
    """The longest that a ticking event loop was held up, in the better half of the rounds: others share the cores."""
    found = [await _ask(hub, "lag") for _ in range(rounds)]
    started, updated, stopped = (
        statistics.median_low([each[phase] for each in found]) for phase in ("start", "update", "stop")
    )
    worst = max(started, updated, stopped)
    return Figure(
        "longest hold-up of an event loop, 45 KB",
        f"start {started * 1e3:.1f} ms, update {updated * 1e3:.1f} ms, stop {stopped * 1e3:.1f} ms",
        f"ticking alone {statistics.median_low([each['alone'] for each in found]) * 1e3:.1f} ms",
        aim="<= 10 ms",
        reached=worst <= AIM_LAG_SECONDS,
    )


async def _ask(hub: Hub, kind: str, *arguments: str) -> dict[str, float]:
    """What the process says. Where it first says that it runs, the document is changed under it."""
    argv = ["-m", "bench.client_idle", kind, f"http://127.0.0.1:{hub.port}", hub.token, *arguments]
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(120):
        line = await process.stdout.readline()
        if line == _RUNNING:
            change = {"config": {"changed": secrets.randbits(30)}, "mode": "merge"}
            (await hub.http.post(f"/api/v1/config/{LARGE}", json=change)).raise_for_status()
            line = await process.stdout.readline()
        await process.wait()
    answer: dict[str, float] = json.loads(line)
    return answer


def _manager(service: str, url: str, token: str, cache: str) -> ConfigManager[Any]:
    return ConfigManager(service, central_hub_url=url, token=token, cache_dir=Path(cache), config_dir=None)


def _stay(seconds: float) -> dict[str, float]:
    """Sleep, and say what this process takes and how often it was woken meanwhile."""
    time.sleep(3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    time.sleep(seconds)
    wakes = (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before) / seconds
    return {"bytes": psutil.Process().memory_info().rss, "wakes": wakes}


class _Ticker:
    """Asks to be called every millisecond, and remembers the longest that it was late since it was last asked."""

    def __init__(self) -> None:
        self._worst = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._worst = max(self._worst, loop.time() - due)

    def worst(self) -> float:
        """Seconds."""
        worst, self._worst = self._worst, 0.0
        return worst


async def _tick(url: str, token: str, cache: str) -> dict[str, float]:
    ticker, found = _Ticker(), {}
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(0.5)
    found["alone"] = ticker.worst()
    manager = _manager(LARGE, url, token, cache)
    await manager.start_async()
    found["start"] = ticker.worst()
    await asyncio.sleep(1)
    ticker.worst()
    updated = asyncio.Event()

    async def on_update(_: Any) -> None:
        updated.set()

    manager.on_config_update(on_update)
    print(_RUNNING.decode(), end="", flush=True)
    await asyncio.wait_for(updated.wait(), 30)
    await asyncio.sleep(0.2)
    found["update"] = ticker.worst()
    await manager.stop_async()
    found["stop"] = ticker.worst()
    ticking.cancel()
    return found


def _main(kind: str, url: str, token: str, seconds: str = "0") -> None:
    for name in _IMPORTS:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as cache:
        if kind == "lag":
            answer = asyncio.run(_tick(url, token, cache))
        elif kind == "managed":
            with _manager(PILOT, url, token, cache):
                answer = _stay(float(seconds))
        else:
            answer = _stay(float(seconds))
    print(json.dumps(answer))


if __name__ == "__main__":
    _main(*sys.argv[1:])
