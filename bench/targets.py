"""What it takes a hub to probe hundreds of targets, also while many of them hang: its processor time, and how much
later than it should a target that is well is asked, as the targets see it.

The hub is a real one, and so are the file that it reads and the probes that it sends: over HTTP, TCP, and the protocols
of PostgreSQL and NATS, to servers of these.
"""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa

from bench.figures import Figure, percentile_ms
from bench.hub import Servers, running_hub

INTERVAL_SECONDS: Final = 10.0
TIMEOUT_SECONDS: Final = 3.0
AIM_SHARE: Final = 0.2
"""Of a core."""
_KINDS: Final = ("http", "http", "tcp", "http", "nats", "postgres", "http", "tcp", "http", "postgres")
_SETTLING_SECONDS: Final = INTERVAL_SECONDS
"""From the first probe of the first target until all were probed and nothing of the start is left."""


@dataclass(frozen=True)
class Watched:
    """Of a core, and in seconds, sorted."""

    share: float
    late: list[float]


async def measure(servers: Servers, *, targets: int, seconds: float) -> list[Figure]:
    """Probe them all every ten seconds, with all of them well, and with a fifth of them hanging."""
    async with running_hub(servers) as hub:
        await asyncio.sleep(min(seconds, 2.0))
        before, began = hub.cpu_seconds(), time.monotonic()
        await asyncio.sleep(seconds / 2)
        idle = (hub.cpu_seconds() - before) / (time.monotonic() - began)
    figures = []
    for hanging in (0, targets // 5):
        watched = await _watch(servers, targets=targets, hanging=hanging, seconds=seconds)
        what = f"… {hanging} of them hanging" if hanging else f"{targets} targets probed every 10 s"
        whom = "the others" if hanging else "they"
        figures += [
            Figure(
                f"{what}: processor time of the hub",
                f"{watched.share:.1%} of a core",
                f"idle {idle:.1%}",
                aim=f"< {AIM_SHARE:.0%}",
                reached=watched.share < AIM_SHARE,
            ),
            Figure(
                f"… {whom} are asked later than they should",
                f"p99 {percentile_ms(watched.late, 0.99):.0f} ms, at worst {watched.late[-1] * 1000:.0f} ms",
                f"{len(watched.late)} intervals, seen by the targets",
            ),
        ]
    return figures


async def _watch(servers: Servers, *, targets: int, hanging: int, seconds: float) -> Watched:
    wanted = [
        (f"t{number:04}", _KINDS[number % len(_KINDS)], hanging > 0 and number % 5 == 0 and number // 5 < hanging)
        for number in range(targets)
    ]
    hang = {name for name, _, hangs in wanted if hangs}
    async with _probed(servers, wanted) as (ports, asked):
        file = servers.directory / f"infrastructure-{secrets.token_hex(4)}.yaml"
        _write(file, servers, wanted, ports)
        async with running_hub(servers, infrastructure=file) as hub:
            await asyncio.sleep(min(seconds, _SETTLING_SECONDS))
            before, began = hub.cpu_seconds(), time.monotonic()
            await asyncio.sleep(seconds)
            share = (hub.cpu_seconds() - before) / (time.monotonic() - began)
            answer = await hub.http.get("/api/v1/infrastructure/")
            moments = await asked()
    answer.raise_for_status()
    for found in answer.json()["components"]:
        if found["name"] not in hang and found["state"] not in ("starting", "healthy"):
            raise RuntimeError(f"{found['name']} should be well, and is {found['state']}: {found['reason']}")
    # An interval is at most a tenth longer than it is written.
    longest = 1.1 * INTERVAL_SECONDS
    late = sorted(
        max(0.0, after - before - longest)
        for name, times in moments.items()
        if name not in hang
        for before, after in pairwise(times)
    )
    return Watched(share, late or [0.0])


def _write(file: Path, servers: Servers, wanted: list[tuple[str, str, bool]], ports: dict[str, int]) -> None:
    """The file of the infrastructure, with what the probes need to be let in."""
    database, nats = sa.make_url(servers.endpoints.database_url), urlsplit(servers.endpoints.nats_url)
    passwords = {"postgres": database.password, "nats": nats.password}
    for kind, password in passwords.items():
        (servers.directory / f"{kind}.password").write_text(password or "")
    shapes: dict[str, dict[str, Any]] = {
        "http": {"type": "http"},
        "tcp": {"type": "tcp"},
        "postgres": {
            "type": "postgresql",
            "user": database.username,
            "database": database.database,
            "options": {"sslmode": "disable"},
        },
        "nats": {"type": "nats", "user": nats.username},
    }
    components = {}
    for name, kind, _ in wanted:
        probe = {"interval_seconds": INTERVAL_SECONDS, "timeout_seconds": TIMEOUT_SECONDS}
        where = {"url": f"http://127.0.0.1:{ports[name]}/"} if kind == "http" else _place(ports[name])
        let_in = {"password": {"$secret": f"file://{servers.directory}/{kind}.password"}} if kind in passwords else {}
        components[name] = {**shapes[kind], **where, **let_in, "probe": probe}
    # As JSON, which is YAML without anchors.
    file.write_text(json.dumps({"version": 1, "endpoints": components}))


def _place(port: int) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port}


@asynccontextmanager
async def _probed(
    servers: Servers, wanted: list[tuple[str, str, bool]]
) -> AsyncIterator[tuple[dict[str, int], Callable[[], Awaitable[dict[str, list[float]]]]]]:
    """The targets, with their ports, and how to end them and learn when each was asked."""
    database, nats = sa.make_url(servers.endpoints.database_url), urlsplit(servers.endpoints.nats_url)
    told = {
        "targets": wanted,
        "postgres": f"{database.query['host']}/.s.PGSQL.{database.query['port']}",
        "nats": [nats.hostname, nats.port],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.probed",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def asked() -> dict[str, list[float]]:
        stdin.close()
        found: dict[str, list[float]] = json.loads(await stdout.readline())
        return found

    try:
        stdin.write(json.dumps(told).encode() + b"\n")
        yield json.loads(await stdout.readline()), asked
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
