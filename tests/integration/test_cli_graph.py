"""`central-hub graph` and the dependencies of `central-hub health`, as programs against a real hub."""

import asyncio
import os
import pty
import re
import subprocess
from pathlib import Path

from central_hub.monitoring.infrastructure import Need
from tests.conftest import RunningHub
from tests.integration.instances import beat, register
from tests.integration.test_cli import PROGRAM, Run, cli
from tests.integration.trading import trading

__all__ = ["cli"]

REFUSED = "the connection was refused"


async def test_the_tree_begins_with_what_is_to_blame(cli: Run, hub: RunningHub, service_name: str) -> None:
    needs = {service_name: {"feature-store": Need.REQUIRED, "nats": Need.OPTIONAL}}
    async with trading(hub, needs) as found:
        await beat(hub.http, await register(hub.http, service_name), state="healthy")
        await found.stop("clickhouse", "feature-store")
        shown = await cli("graph")
        in_ascii = await cli("graph", "--reverse", PYTHONIOENCODING="ascii")
        alone = await cli("graph", "--of", service_name)
        told = (await cli("graph", "--json")).json
        diagram = await cli("graph", "--mermaid")
    reason = f"unhealthy: {REFUSED}; it requires clickhouse, which is unhealthy: {REFUSED}"
    rolled_up = f"degraded: 1 of 1 healthy; requires feature-store, which is {reason}"
    assert shown.code == 0, shown.err
    assert shown.out.splitlines() == [
        f"clickhouse  unhealthy: {REFUSED}",
        f"└─ feature-store  {reason}",
        f"   └─ {service_name} (service)  {rolled_up}",
        "dragonflydb  healthy",
        "└─ feature-store (optional)  unhealthy, see above",
        "nats  healthy",
        f"└─ {service_name} (service, optional)  {rolled_up}",
        "kafka  not probed",
    ]
    assert in_ascii.out.splitlines()[:3] == [
        f"{service_name} (service)  {rolled_up}",
        f"|- feature-store  {reason}",
        f"|  |- clickhouse  unhealthy: {REFUSED}",
    ]
    assert [line.split()[-1] for line in alone.out.splitlines()[-2:]] == ["healthy", "healthy"]
    assert alone.out.splitlines()[0] == f"{service_name} (service)  {rolled_up}"
    assert [cause["name"] for cause in told["causes"]] == ["clickhouse"]
    assert diagram.out.startswith("flowchart LR\n")
    assert '[("clickhouse")]:::unhealthy' in diagram.out


async def test_a_name_that_nobody_has_is_told_and_so_is_an_empty_graph(cli: Run, hub: RunningHub) -> None:
    nobody = await cli("graph", "--of", "unheard-of")
    assert (nobody.code, nobody.out) == (1, "")
    assert "neither a component nor a service unheard-of" in nobody.err
    nothing = await cli("graph")
    assert (nothing.code, nothing.out) == (0, "")
    assert "knows of no infrastructure" in nothing.err
    for options in (("--mermaid", "--reverse"), ("--json", "--of", "nats"), ("--json", "--mermaid")):
        assert (await cli("graph", *options)).code == 2


async def test_on_a_narrow_terminal_no_line_is_folded_and_states_are_coloured(
    hub: RunningHub, service_name: str, tmp_path: Path
) -> None:
    async with trading(hub, {service_name: {"feature-store": Need.REQUIRED}}) as found:
        await found.stop("clickhouse", "feature-store")
        shown = await asyncio.to_thread(_on_a_terminal, hub, tmp_path, 40)
    assert "\x1b[1;31mclickhouse" in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert lines[0].startswith("clickhouse  unhealthy: ")
    assert len(lines) == 7
    assert max(map(len, lines)) == 40


async def test_health_shows_what_a_service_depends_on(cli: Run, hub: RunningHub, service_name: str) -> None:
    async with trading(hub, {service_name: {"clickhouse": Need.REQUIRED, "kafka": Need.OPTIONAL}}) as found:
        await beat(hub.http, await register(hub.http, service_name), state="healthy")
        await found.stop("clickhouse")
        shown = await cli("health", service_name)
    rows = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert rows[1].startswith(
        f"{service_name} default degraded 1 of 1 healthy; requires clickhouse, which is unhealthy"
    )
    assert rows[3:6] == [
        "DEPENDS ON NEED STATE REASON",
        f"clickhouse required unhealthy {REFUSED}",
        "kafka optional not probed",
    ]


def _on_a_terminal(hub: RunningHub, directory: Path, columns: int) -> str:
    leader, follower = pty.openpty()
    variables = {"CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token, "CENTRAL_HUB_DATA_DIR": str(directory)}
    program = subprocess.Popen(
        [PROGRAM, "graph"],
        stdin=follower,
        stdout=follower,
        env={**os.environ, **variables, "TERM": "xterm", "COLUMNS": str(columns)},
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    try:
        while True:
            try:
                found = os.read(leader, 65_536)
            except OSError:  # the other end is closed
                break
            if not found:
                break
            shown += found
        assert program.wait(30) == 0
    finally:
        program.kill()
        os.close(leader)
    return shown.decode()
