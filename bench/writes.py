"""Accepted writes a second, against the same lock, counter and two inserts done bare on the same PostgreSQL."""

import asyncio
import statistics
import time
from typing import Final

import asyncpg

from bench.figures import Figure, at_least
from bench.hub import Hub, Servers, running_hub
from bench.load import COUNTER, Load, Seen, request
from bench.reads import drive

WRITERS: Final = 16
ROUNDS: Final = 3
_CONTENT: Final = '{"operational":{"batch_size":10000000,"note":"' + "x" * 900 + '"}}'


async def measure(servers: Servers, *, seconds: float) -> list[Figure]:
    """Sixteen writers, and the latency of a single one."""
    async with running_hub(servers) as hub:
        bare, full = [], []
        first = 10_000_000
        for _ in range(ROUNDS):
            bare.append(await _bare_rate(servers, WRITERS, seconds))
            seen = await _write(hub, WRITERS, seconds, first)
            full.append(seen.answers / seen.seconds)
            first += 1_000_000
        alone = await _write(hub, 1, seconds, first)
        bare_alone = await _bare_rate(servers, 1, seconds)
    rate, bare_rate = statistics.median(full), statistics.median(bare)
    return [
        at_least(
            f"accepted writes, {WRITERS} writers", f"{rate:,.0f}/s", f"bare {bare_rate:,.0f}/s", rate / bare_rate, 0.6
        ),
        Figure(
            "accepted write, one writer",
            f"p50 {alone.p50_ms:.1f} ms, p99 {alone.p99_ms:.1f} ms",
            f"bare {1000 / bare_alone:.1f} ms",
        ),
    ]


async def _write(hub: Hub, writers: int, seconds: float, first: int) -> Seen:
    requests = [
        request(
            "POST",
            f"/api/v1/config/writer-{writer}",
            hub.headers,
            '{"config":{"operational":{"batch_size":' + COUNTER + ',"note":"' + "x" * 900 + '"}}}',
        )
        for writer in range(writers)
    ]
    return await drive(Load(hub.port, requests, seconds, 200, first))


async def _bare_rate(servers: Servers, writers: int, seconds: float) -> float:
    """Commits a second of advisory lock, counter and two inserts, with asyncpg and nothing else."""
    _, owner_url = await servers.new_database()
    connections = [await asyncpg.connect(owner_url) for _ in range(writers)]
    await connections[0].execute(
        "CREATE TABLE counter (revision bigint); INSERT INTO counter VALUES (0);"
        "CREATE TABLE log (revision bigint PRIMARY KEY, who text, hash text);"
        "CREATE TABLE contents (revision bigint PRIMARY KEY, content text)"
    )
    deadline = time.perf_counter() + seconds
    commits = sum(await asyncio.gather(*(_commit_until(connection, deadline) for connection in connections)))
    for connection in connections:
        await connection.close()
    return commits / seconds


async def _commit_until(connection: "asyncpg.Connection[asyncpg.Record]", deadline: float) -> int:
    count = 0
    while time.perf_counter() < deadline:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(1)")
            revision = await connection.fetchval("UPDATE counter SET revision = revision + 1 RETURNING revision")
            await connection.execute("INSERT INTO log VALUES ($1, $2, $3)", revision, "bench", "sha256:" + "0" * 64)
            await connection.execute("INSERT INTO contents VALUES ($1, $2)", revision, _CONTENT)
        count += 1
    return count
