"""`central-hub status --wait`: whom it waits for, whom not, what it says and what it ends with."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.instances import beat, eventually, register, status
from tests.integration.test_cli import PROGRAM, Run, cli
from tests.integration.test_status import change, states

__all__ = ["cli"]

INSTANCE = """
import os, sys
from pydantic import BaseModel, Field
from central_hub_client import ConfigManager, InstanceDescription
from central_hub_client.registration import Registration
service, name, most, lease, cache = sys.argv[1:]
class Settings(BaseModel):
    batch: int = Field(0, le=int(most))
# A manager asks for half a minute: too long to wait for one that was killed.
Registration.__init__.__kwdefaults__["lease_seconds"] = int(lease)
about = InstanceDescription(version="1.0")
with ConfigManager(service, Settings, instance_id=name, config_dir=None, cache_dir=cache, register=about):
    sys.stdin.read()
"""

Start = Callable[..., Awaitable[RunningHub]]


@asynccontextmanager
async def instance(
    hub: RunningHub, service: str, name: str, cache: Path, *, most: int = 1_000, lease: int = 30, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A service of its own process, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INSTANCE, service, name, str(most), str(lease), str(cache / name)),
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token, **variables},
    )
    try:
        yield process
    finally:
        await asyncio.wait_for(process.communicate(b""), 30)


async def all_know(hub: RunningHub, service: str, expected: dict[str, str]) -> None:
    async def do() -> bool:
        return states(await status(hub, service)) == expected

    await eventually(do, within=30)


async def run_at(hub: RunningHub, tmp_path: Path, *arguments: str, **streams: Any) -> asyncio.subprocess.Process:
    settings = {"CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token, "CENTRAL_HUB_DATA_DIR": str(tmp_path)}
    return await asyncio.create_subprocess_exec(
        *(PROGRAM, *arguments),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "xterm", **settings},
        **({"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | streams),
    )


async def result_of(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), (err or b"").decode()


async def test_a_fleet_at_two_replicas_applies_refuses_hides_and_dies(
    hub: RunningHub, database: DatabaseUrls, start_hub: Start, service_name: str, tmp_path: Path
) -> None:
    other = await start_hub(database)
    await change(hub, service_name, {"batch": 1})

    async def wait(at: RunningHub, *options: str) -> tuple[int | None, str, str]:
        return await result_of(await run_at(at, tmp_path, "status", service_name, "--wait", *options))

    async with AsyncExitStack() as fleet:
        await fleet.enter_async_context(instance(hub, service_name, "a", tmp_path))
        await fleet.enter_async_context(instance(other, service_name, "strict", tmp_path, most=100))
        doomed = await fleet.enter_async_context(instance(other, service_name, "doomed", tmp_path, lease=5))
        await all_know(hub, service_name, dict.fromkeys(("a", "doomed", "strict"), "applied"))

        good = await change(other, service_name, {"batch": 2})
        for replica in (hub, other):
            code, out, err = await wait(replica, "--revision", str(good["revision"]), "--timeout", "50")
            assert (code, "converged: 3 applied" in out) == (0, True), err

        doomed.send_signal(signal.SIGKILL)
        await doomed.wait()
        unheard = await change(hub, service_name, {"batch": 3})
        code, out, err = await wait(other, "--revision", f"1.{unheard['revision']}", "--timeout", "50")
        assert (code, "2 applied, 1 silent" in out) == (0, True), err
        assert "not waited for, since not heard of: doomed (1.0)" in err

        bad = await change(hub, service_name, {"batch": 500}, allow=["contract"])  # which the hub would refuse
        code, out, err = await wait(other, "--revision", str(bad["revision"]), "--timeout", "50", "--json")
        assert code == 1
        told = json.loads(out)
        assert (told["outcome"], told["revision"]) == ("rejected", bad["revision"])
        assert states(told)["strict"] == "rejected"
        problem = json.loads(err)
        assert problem["outcome"] == "rejected"
        assert "1 of 2 refused it" in problem["detail"]
        code, out, err = await wait(hub, "--revision", str(bad["revision"]), "--timeout", "50")
        assert code == 1
        assert "refused by strict (1.0): batch: Input should be less than or equal to 100" in err
        assert f"central-hub rollback {service_name} REVISION" in err

        variable = f"{service_name.upper().replace('-', '_')}_BATCH"
        await fleet.enter_async_context(instance(other, service_name, "hiding", tmp_path, **{variable: "7"}))
        mended = await change(hub, service_name, {"batch": 4})
        expected = {"a": "applied", "doomed": "silent", "hiding": "shadowed", "strict": "applied"}
        await all_know(other, service_name, expected)
        code, out, err = await wait(other, "--revision", str(mended["revision"]), "--timeout", "50")
        assert code == 1
        assert "1 of 3 hide it behind settings of their own" in err
        assert "hidden at hiding (1.0): its own settings hide /batch" in err
    metrics = (await other.http.get("/api/v1/metrics")).text + (await hub.http.get("/api/v1/metrics")).text
    counts = [
        float(line.split()[1])
        for line in metrics.splitlines()
        if line.startswith("central_hub_time_to_apply_seconds_c")
    ]
    assert sum(counts) >= 6  # a: 2, 3, 500, 4; strict: 2, 3 and 4; and more where somebody was told twice


async def test_who_is_missing_is_named_when_the_time_is_over(cli: Run, hub: RunningHub, service_name: str) -> None:
    first = await change(hub, service_name, {"a": 1}, environment="staging")
    for number in range(12):
        await beat(
            hub.http,
            await register(hub.http, service_name, f"i{number:02}", environment="staging", version="2"),
            applied=first,
        )
    await change(hub, service_name, {"a": 2}, environment="staging")
    late = await cli("status", service_name, "-e", "staging", "--wait", "--timeout", "0.3")
    assert late.code == 1
    assert "12 of 12 had not applied it after 0.3 s" in late.err
    assert f"not applied by i00 (2): it runs 1.{first['revision']}, last heard 20" in late.err
    assert "… nor by 2 more" in late.err
    told = await cli("status", service_name, "-e", "staging", "--wait", "--timeout", "0", "--json")
    assert (told.code, told.json["outcome"], told.json["states"]["pending"]) == (1, "timed_out", 12)
    # The revision that they do run is everywhere.
    assert (
        await cli("status", service_name, "-e", "staging", "--wait", "--revision", str(first["revision"]))
    ).code == 0


async def test_instances_that_refuse_for_one_reason_are_told_together(
    cli: Run, hub: RunningHub, service_name: str
) -> None:
    made = [await register(hub.http, service_name, f"i{number:02}") for number in range(12)]
    bad = await change(hub, service_name, {"a": -1})
    for each in made:
        await beat(hub.http, each, rejected=bad | {"reason": "a: must be positive\x1b[2J"})
    refused = await cli("status", service_name, "--wait")
    assert refused.code == 1
    assert refused.err.count("must be positive") == 1
    assert "i09 and 2 more: a: must be positive" in refused.err
    assert "\x1b" not in refused.err + refused.out


async def test_after_the_first_refusal_only_those_right_behind_it_are_waited_for(
    cli: Run, hub: RunningHub, service_name: str
) -> None:
    a, _ = [await register(hub.http, service_name, name) for name in "ab"]
    bad = await change(hub, service_name, {"a": -1})
    await beat(hub.http, a, rejected=bad | {"reason": "no"})
    refused = await cli("status", service_name, "--wait", "--timeout", "600")  # would be ended by the test itself
    assert refused.code == 1
    assert "1 of 2 refused it" in refused.err
    assert "not applied by b: it runs none yet" in refused.err


async def test_a_service_that_nobody_runs_is_no_failure_and_says_so(
    cli: Run, hub: RunningHub, service_name: str
) -> None:
    await change(hub, service_name, {"a": 1})
    done = await cli("status", service_name, "--wait")
    assert (done.code, "no instance is registered" in done.out) == (0, True)
    assert (await cli("status", service_name, "--wait", "--json")).json["outcome"] == "no_instances"
    nowhere = await cli("status", f"{service_name}-x", "--wait")
    assert nowhere.code == 1
    assert "there is no document" in nowhere.err
    assert (await cli("status", service_name, "--timeout", "1")).code == 2
    assert (await cli("status", service_name, "--wait", "--revision", "x")).code == 2
    # One that is not there yet cannot be waited for: this may be the wrong hub, or a replica that lags far behind.
    assert (await cli("status", service_name, "--wait", "--revision", "999999")).code == 3


async def read_until(terminal: int, text: str) -> str:
    """What a program writes to a terminal, until a text was in it."""
    seen = b""
    async with asyncio.timeout(30):
        while text.encode() not in seen:
            seen += await asyncio.to_thread(os.read, terminal, 4096)
    return seen.decode()


@pytest.mark.parametrize("ends", ["applied", "interrupted"])
async def test_on_a_terminal_one_line_tells_how_far_it_is_and_goes_away(
    hub: RunningHub, service_name: str, tmp_path: Path, ends: str
) -> None:
    first = await change(hub, service_name, {"a": 1})
    a, b = [await register(hub.http, service_name, name) for name in "ab"]
    await beat(hub.http, a, applied=first)
    terminal, slave = os.openpty()
    try:
        process = await run_at(hub, tmp_path, "status", service_name, "--wait", "--timeout", "600", stderr=slave)
        os.close(slave)
        shown = await read_until(terminal, "1 applied, 1 pending")
        assert "\r\x1b[K" in shown
        if ends == "applied":
            await beat(hub.http, b, applied=first)
            code, out, _ = await result_of(process)
            assert (code, "converged: 2 applied" in out) == (0, True)
        else:
            process.send_signal(signal.SIGINT)
            said = await read_until(terminal, "lease runs out")
            code, out, _ = await result_of(process)
            assert (code, "Traceback" in said) == (1, False)
            assert "interrupted while 1 of 2 had not applied it" in said
            assert "not applied by b: it runs none yet" in said
    finally:
        os.close(terminal)


async def test_a_hub_that_goes_away_meanwhile_is_waited_for(
    hub: RunningHub, database: DatabaseUrls, start_hub: Start, service_name: str, tmp_path: Path
) -> None:
    replica = await start_hub(database)
    port = int(replica.url.rpartition(":")[2])
    first = await change(hub, service_name, {"a": 1})
    made = await register(hub.http, service_name)
    process = await run_at(replica, tmp_path, "status", service_name, "--wait", "--timeout", "60")
    assert process.stderr is not None
    assert b"1 pending" in await asyncio.wait_for(process.stderr.readline(), 30)
    await replica.stop()
    assert b"trying again" in await asyncio.wait_for(process.stderr.readline(), 30)
    await start_hub(database, port=port)
    await beat(hub.http, made, applied=first)
    code, out, err = await result_of(process)
    assert (code, "converged: 1 applied" in out) == (0, True), err
