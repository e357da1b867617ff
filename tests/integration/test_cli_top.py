"""`central-hub top` as a program: what it shows of a fleet, on a terminal and elsewhere."""

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import RunningHub
from tests.integration.instances import beat, let_time_pass, register
from tests.integration.test_cli import Run, cli

__all__ = ["cli"]

CENTRAL_HUB = Path(sys.executable).with_name("central-hub")
SECONDS = 30
_SENT_WITH = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and the like."""


async def make_fleet(hub: RunningHub, service: str) -> None:
    stored = await hub.http.post(f"/api/v1/config/{service}", json={"config": {"batch": 1}, "mode": "merge"})
    position = {"epoch": stored.json()["epoch"], "revision": stored.json()["revision"]}
    await beat(hub.http, await register(hub.http, service, "gone", environment="staging"))
    await let_time_pass(hub, service, 40)
    await beat(hub.http, await register(hub.http, service, "one", host="10.0.0.7", port=8080), applied=position)
    rejected = {**position, "reason": "no"}
    await beat(hub.http, await register(hub.http, service, "two"), state="degraded", rejected=rejected)
    await beat(hub.http, await register(hub.http, service, "three"), state="unhealthy", applied=position)


async def test_it_shows_the_hub_the_services_and_who_is_not_well(cli: Run, hub: RunningHub, service_name: str) -> None:
    await make_fleet(hub, service_name)
    shown = await cli("top")
    assert shown.code == 0, shown.err
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert lines[0].startswith(f"{hub.url} healthy revision 1.")
    assert re.match(r"\d+ services, \d+ instances: .*1 unhealthy", lines[1])
    revision = (await hub.http.get(f"/api/v1/config/{service_name}")).json()["revision"]
    [row] = [line for line in lines if line.startswith(f"{service_name} default degraded")]
    assert row.startswith(f"{service_name} default degraded 2 of 3 1.{revision} 2 of 3, 1 rejected 1 of 3 unhealthy")
    assert any(line.startswith(f"{service_name} staging expired 0 of 1") for line in lines)
    listed = [line for line in lines if re.match(rf"{service_name} \S+ (one|two|three|gone) ", line)]
    assert [line.split()[2:4] for line in listed] == [["three", "unhealthy"], ["gone", "expired"], ["two", "degraded"]]
    only = await cli("top", "-e", "staging")
    assert "three" not in only.out
    assert "gone" in only.out


async def test_machines_get_all_of_it(cli: Run, hub: RunningHub, service_name: str) -> None:
    await make_fleet(hub, service_name)
    told = (await cli("top", "--json")).json
    assert told["hub"]["state"] == "healthy"
    [here] = [
        service
        for service in told["services"]
        if (service["service"], service["environment"]) == (service_name, "default")
    ]
    assert here["config"]["states"]["applied"] == 2
    assert here["config"]["converged"] is False
    names = {instance["instance_id"] for instance in told["instances"] if instance["service"] == service_name}
    assert names == {"one", "two", "three", "gone"}


async def test_without_a_hub_it_says_so_and_ends(cli: Run) -> None:
    nobody = await cli("top", "--url", "http://127.0.0.1:1")
    assert (nobody.code, nobody.out) == (3, "")


async def test_on_a_terminal_it_looks_again_and_again_until_ctrl_c(hub: RunningHub, service_name: str) -> None:
    await make_fleet(hub, service_name)
    leader, follower = pty.openpty()
    program = _start(hub, follower)
    os.close(follower)
    try:
        await asyncio.to_thread(_read_until, leader, f"{service_name} ", "three")
        await beat(hub.http, await register(hub.http, service_name, "newcomer"), state="unhealthy")
        await asyncio.to_thread(_read_until, leader, "newcomer")
        program.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(program.wait, SECONDS) == 0
    finally:
        program.kill()
        os.close(leader)


async def test_on_a_narrow_terminal_a_long_reason_hides_no_state(hub: RunningHub) -> None:
    for number in range(3):
        await beat(hub.http, await register(hub.http, "narrow", f"n{number}"), state="unhealthy")
    leader, follower = pty.openpty()
    program = _start(hub, follower, columns=72)
    os.close(follower)
    try:
        await asyncio.to_thread(_read_until, leader, "STATE", re.compile(r"narrow +default +unhealthy +0 of 3"))
    finally:
        program.kill()
        os.close(leader)


def _start(hub: RunningHub, terminal: int, *, columns: int = 200) -> subprocess.Popen[bytes]:
    variables = {"CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token, "TERM": "xterm"}
    return subprocess.Popen(
        [CENTRAL_HUB, "top", "--every", "0.2"],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.STDOUT,
        env=os.environ | variables | {"COLUMNS": str(columns), "LINES": "60"},
        start_new_session=True,
    )


def _read_until(terminal: int, *words: str | re.Pattern[str]) -> None:
    """Read what is shown until all of these have been."""
    seen, deadline = "", time.monotonic() + SECONDS
    while not all(re.search(word, _SENT_WITH.sub("", seen)) for word in words):
        assert time.monotonic() < deadline, seen[-2000:]
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65_536).decode(errors="replace")
