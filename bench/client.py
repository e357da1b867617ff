"""What a service pays for its settings: a look at one, the import, and a start where nobody answers."""

import asyncio
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from bench.figures import Figure, at_most
from bench.server import free_port
from central_hub_client import ConfigManager, Source
from central_hub_client.testing import FakeHub

SERVICE: Final = "bench"
MEGABYTE: Final = {f"section-{number}": {f"key-{key}": "v" * 88 for key in range(100)} for number in range(100)}


class B(BaseModel):
    model_config = ConfigDict(frozen=True)
    c: int = 1


class A(BaseModel):
    model_config = ConfigDict(frozen=True)
    b: B = B()


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: A = A()


async def measure(*, quick: bool) -> list[Figure]:
    """Takes a second or two, in a thread: what it waits for is of this process."""
    return await asyncio.to_thread(_measure, 1 if quick else 10)


def _measure(rounds: int) -> list[Figure]:
    return [*_reads(rounds), _import(rounds), _start_alone(rounds)]


def _reads(rounds: int) -> list[Figure]:
    manager, plain = ConfigManager(SERVICE, Settings, config_dir=None), Settings()
    names: dict[str, Any] = {"manager": manager, "plain": plain}
    attribute, by_path, bare = (
        _nanoseconds(statement, names, rounds)
        for statement in ("manager.current.a.b.c", "manager.get('a.b.c')", "plain.a.b.c")
    )
    against = f"plain Pydantic: {bare:.0f} ns"
    return [
        at_most("`manager.current.a.b.c`", f"{attribute:.0f} ns", against, attribute / bare, 1.2),
        Figure(
            '`manager.get("a.b.c")`', f"{by_path:.0f} ns", against, by_path / bare, "< 1 µs", reached=by_path < 1_000
        ),
    ]


def _nanoseconds(statement: str, names: dict[str, Any], rounds: int) -> float:
    number = 20_000
    return min(timeit.repeat(statement, globals=names, repeat=rounds, number=number)) / number * 1e9


def _import(rounds: int) -> Figure:
    whole = _import_seconds("import central_hub_client, pydantic", rounds)
    bare = _import_seconds("import pydantic, httpx2; pydantic.BaseModel", rounds)
    against = f"pydantic and httpx2 alone: {bare * 1e3:.0f} ms"
    return at_most("`import central_hub_client`", f"{whole * 1e3:.0f} ms", against, whole / bare, 1.5)


def _import_seconds(statement: str, rounds: int) -> float:
    """Of the statement alone, in an interpreter of its own that has loaded nothing yet."""
    program = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    answers = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(rounds)
    ]
    return min(map(float, answers))


def _start_alone(rounds: int) -> Figure:
    """From what the last run left on disk, with nobody at the hub's address."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as cache:
        with FakeHub() as hub:
            hub.set(SERVICE, MEGABYTE)
            with _manager(hub.url, cache) as manager:
                hub.wait_until_applied(manager)
        seconds = [_start_seconds(f"http://127.0.0.1:{free_port()}", cache) for _ in range(rounds)]
    return Figure(
        "start from what was last known, 1 MB, the hub dead",
        f"{min(seconds) * 1e3:.0f} ms",
        aim="< 50 ms",
        reached=min(seconds) < 0.050,
    )


def _start_seconds(url: str, cache: str) -> float:
    began = time.perf_counter()
    with _manager(url, cache) as manager:
        seconds = time.perf_counter() - began
        assert manager.status.source is Source.LAST_KNOWN_GOOD  # else it is another measurement
        return seconds


def _manager(url: str, cache: str) -> ConfigManager[Any]:
    return ConfigManager(SERVICE, central_hub_url=url, token="t", cache_dir=Path(cache), config_dir=None)  # noqa: S106 - a fake hub asks for none
