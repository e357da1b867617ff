"""Probes that other packages bring by an entry point: used, and where they are broken a finding."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.infrastructure import Component, ProbeSettings, Section
from central_hub.monitoring.probes.asking import Probes

PACKAGE = """
import asyncio
from central_hub.connections.health_probe import Probed

async def lamp(connection, options, deadline):
    left = deadline - asyncio.get_running_loop().time()
    return Probed(options["color"] == "green" and connection["password"] == "hush" and 0 < left <= 1, "it is not green")

class Lamp:
    async def __call__(self, connection, options, deadline):
        return Probed(True)

async def raises(connection, options, deadline):
    raise RuntimeError("hush")

async def refused(connection, options, deadline):
    raise ConnectionRefusedError(111, "hush")

async def says_nothing(connection, options, deadline):
    return "fine"

async def chatters(connection, options, deadline):
    return Probed(False, "a\\x1b[31m b\\n" + "c" * 5000)

async def hangs(connection, options, deadline):
    await asyncio.sleep(3600)

async def hangs_on(connection, options, deadline):
    while not options["end"].is_set():
        try:
            await options["end"].wait()
        except asyncio.CancelledError:
            pass
    return Probed(True)
"""
NAMES = ("lamp", "Lamp", "raises", "refused", "says_nothing", "chatters", "hangs", "hangs_on", "missing")


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A package as pip would install it."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "lamps_for_tests.py").write_text(PACKAGE)
    description = directory / "lamps_for_tests-1.dist-info"
    description.mkdir()
    (description / "METADATA").write_text("Metadata-Version: 2.1\nName: lamps-for-tests\nVersion: 1\n")
    lines = [f"{name} = lamps_for_tests:{name}" for name in NAMES] + ["gone = no_such_package_at_all:probe"]
    (description / "entry_points.txt").write_text("[central_hub.probes]\n" + "\n".join(lines) + "\n")
    sys.path.insert(0, str(directory))
    yield
    sys.path.remove(str(directory))


@pytest.fixture
async def probes() -> AsyncIterator[Probes]:
    made = Probes(dict)
    yield made
    await made.close()


def component(kind: str, **options: object) -> Component:
    settings = ProbeSettings(kind, timeout_seconds=1.0, options=options)
    return Component("a-lamp", Section.ENDPOINTS, "lamp", {"host": "lamp.example", "password": "hush"}, settings)


async def test_a_function_or_a_class_is_asked_with_connection_options_and_deadline(probes: Probes) -> None:
    assert (await probes.ask(component("lamp", color="green"))).ok is True
    assert await probes.ask(component("lamp", color="red")) == Probed(False, "it is not green")
    assert await probes.ask(component("Lamp")) == Probed(True)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("raises", Probed(False, "the probe raises broke: RuntimeError; see the log of the hub")),
        ("refused", Probed(False, "the connection was refused")),
        ("says_nothing", Probed(None, "the probe says_nothing does not say what it found: it returned no Probed")),
        ("missing", Probed(None, "the probe missing cannot be loaded: AttributeError; see the log of the hub")),
        ("gone", Probed(None, "the probe gone cannot be loaded: ModuleNotFoundError; see the log of the hub")),
        ("unheard-of", Probed(None, "there is no probe of the kind unheard-of: no installed package brings it")),
        ("hangs", Probed(False, "no answer within 1 s")),
    ],
)
async def test_a_broken_probe_is_a_finding(probes: Probes, kind: str, found: Probed) -> None:
    for _ in range(2):
        assert await probes.ask(component(kind)) == found


async def test_a_reason_is_fit_for_one_line(probes: Probes) -> None:
    reason = (await probes.ask(component("chatters"))).reason or ""
    assert reason.startswith("a [31m b cc")
    assert len(reason) == 200


async def test_a_probe_that_does_not_end_is_left_alone_until_it_does(probes: Probes) -> None:
    end = asyncio.Event()
    stuck = component("hangs_on", end=end)
    assert await probes.ask(stuck) == Probed(False, "no answer within 1 s")
    # Not another one beside it every time.
    for _ in range(2):
        assert await probes.ask(stuck) == Probed(False, "no answer: the probe before this one has not ended")
    assert sum(task.get_name() == "probe a-lamp" for task in asyncio.all_tasks()) == 1
    end.set()
    assert await probes.ask(stuck) == Probed(True)


async def test_a_credential_that_is_missing_says_nothing_of_the_target() -> None:
    def reveal(_: object) -> dict[str, object]:
        raise ValueError("env://LAMP_PASSWORD is not set")

    assert await Probes(reveal).ask(component("lamp")) == Probed(None, "env://LAMP_PASSWORD is not set")
