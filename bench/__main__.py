"""`python -m bench`: measure everything in one run on this machine, print it, and write it down.

`--quick` only shows that the measurements run; its figures mean nothing and are not written.
"""

import argparse
import asyncio
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench import (
    client,
    client_fanout,
    client_idle,
    contracts,
    fanout,
    heartbeats,
    memory,
    reads,
    returning,
    routing,
    starting,
    status,
    targets,
    validation,
    writes,
)
from bench.figures import Figure
from bench.hub import own_servers

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- figures: written by `make bench` -->\n", "<!-- end of figures -->\n"


async def measure_all(*, quick: bool) -> list[Figure]:
    """Every measurement, one after another."""
    seconds = 0.3 if quick else 4.0
    figures = [*await client.measure(quick=quick), *await starting.measure()]
    async with own_servers() as servers:
        figures += await reads.measure(servers, seconds=seconds)
        figures += await writes.measure(servers, seconds=seconds)
        figures += await validation.measure(servers, seconds=seconds)
        figures += await contracts.measure(servers, builds=20 if quick else 200, seconds=2 * seconds)
        figures += await fanout.measure(servers, subscribers=50 if quick else 1_000)
        figures += await client_fanout.measure(servers, clients=50 if quick else 1_000)
        figures += await client_idle.measure(servers, quick=quick)
        figures += await heartbeats.measure(servers, instances=100 if quick else 5_000, seconds=5 * seconds)
        figures += await targets.measure(servers, targets=50 if quick else 500, seconds=1 if quick else 30)
        figures += await returning.measure(servers, instances=200 if quick else 10_000)
        figures += await status.measure(servers, instances=100 if quick else 2_000, seconds=5 * seconds)
        figures += await routing.measure(servers, instances=100, picks=1_000 if quick else 50_000, seconds=seconds)
        figures += await memory.measure(servers, watchers=50 if quick else 2_000)
    return figures


def machine() -> str:
    """What it was measured on."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("uvicorn", "fastapi", "sqlalchemy", "asyncpg", "nats-py")
    )
    memory_gigabytes = psutil.virtual_memory().total / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores,"
        f" {memory_gigabytes:.0f} GiB, Python {platform.python_version()}, {packages}"
    )


def write_page(figures: list[Figure]) -> None:
    """Put the figures into the page on performance, between its marks."""
    rows = "".join(
        f"| {figure.what} | {figure.measured} | {figure.against} |"
        f" {'' if figure.ratio is None else f'{figure.ratio:.2f}'} | {figure.aim} | {figure.verdict} |\n"
        for figure in figures
    )
    table = f"Measured {machine()}.\n\n| what | measured | against | ratio | aim | |\n|---|---|---|---|---|---|\n{rows}"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def show(figures: list[Figure]) -> None:
    """Print the figures as a table."""
    table = Table("what", "measured", "against", "ratio", "aim", "")
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(figure.what, figure.measured, figure.against, ratio, figure.aim, figure.verdict)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that the measurements run")
    quick = parser.parse_args().quick
    figures = asyncio.run(measure_all(quick=quick))
    show(figures)
    if not quick:
        write_page(figures)


if __name__ == "__main__":
    main()
