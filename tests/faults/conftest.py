"""Seeds, fleets of one's own, and a line at the end for every test that injected faults."""

import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tests.faults.harness import Fleet, own_fleet
from tests.faults.report import LINES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for group in terminalreporter.stats.values() for report in group]
    lines = [line for report in reports if getattr(report, "when", "") == "teardown" for line in _lines(report)]
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)


def _lines(report: pytest.TestReport) -> list[str]:
    return [str(value) for name, value in report.user_properties if name == "faults"]


@pytest.fixture(autouse=True)
def told_at_the_end(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """What a test reports goes along with its result: from the process that runs it to the one that prints."""
    LINES.clear()
    yield
    for line in LINES:
        record_property("faults", line)


@pytest.fixture(scope="session")
def seed() -> int:
    """FAULT_SEED repeats a run's schedule; otherwise every run takes another."""
    return int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """Chance for one test, independent of which other tests run."""
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="module")
async def fleet() -> AsyncIterator[Fleet]:
    """Servers and two replicas that the tests of one module may break."""
    async with own_fleet(hubs=2) as fleet:
        yield fleet
