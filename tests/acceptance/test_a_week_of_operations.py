"""A week of an operator's work through the command line alone, with a service that runs all the while."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import free_port
from tests.integration.embedded_hub import data_directory
from tests.integration.instances import eventually
from tests.integration.test_cli import PROGRAM, Result, run_program
from tests.wire.waiting import until

SERVICE = "billing"
WITHIN_SECONDS = 60
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["batch", "source"],
    "properties": {
        "batch": {"type": "integer", "minimum": 1, "maximum": 1000},
        "currencies": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "source": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"url": {"type": "string"}, "api_key": {"type": "string", "x-secret": True}},
        },
        "fees": {"type": "object", "additionalProperties": {"type": "number"}},
        "limit": {},
    },
}
CONFIG: dict[str, Any] = {
    "batch": 100,
    "source": {"url": "https://rates.example", "api_key": {"$secret": "env://RATES_KEY"}},
    "fees": {f"region-{number}": number / 10 for number in range(30)},
    "limit": 5,
}
PROGRAM_OF_THE_SERVICE = """
import sys
from pydantic import BaseModel, Field
from central_hub_client import ConfigManager, InstanceDescription
environment, name, cache = sys.argv[1:]
class Settings(BaseModel):
    batch: int = Field(100, le=500)
about = InstanceDescription(version="1.0", build="1.0")
with ConfigManager("billing", Settings, environment=environment, instance_id=name, config_dir=None, cache_dir=cache,
                   register=about) as manager:
    print(manager.current.batch, flush=True)
    manager.on_change("batch")(lambda change: print(manager.current.batch, flush=True))
    sys.stdin.read()
"""


@dataclass
class Operator:
    """Whoever sits at the command line."""

    url: str
    data: Path
    files: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    async def run(self, *arguments: str) -> Result:
        here = {"CENTRAL_HUB_DATA_DIR": str(self.data), "COLUMNS": "200"}
        return await run_program(arguments, {**here, **self.settings})

    async def does(self, *arguments: str) -> str:
        result = await self.run(*arguments)
        assert result.code == 0, (arguments, result)
        return result.out + result.err

    async def is_refused(self, *arguments: str, saying: str) -> None:
        result = await self.run(*arguments)
        assert (result.code, saying in result.err) == (1, True), (arguments, saying, result)

    async def last_change(self) -> str:
        """Of whatever there is."""
        return await self.does("log", "--limit", "1", "--json")

    async def revision(self, environment: str = "production") -> str:
        told = json.loads(await self.does("history", SERVICE, "-e", environment, "--json"))
        newest = told["history"][0]
        return f"{newest['epoch']}.{newest['revision']}"

    def write(self, name: str, content: Any) -> str:
        path = self.files / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)


@asynccontextmanager
async def a_hub(data: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`central-hub up`, until the block ends."""
    log = data.with_suffix(".log").open("ab")
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "up", "--data-dir", str(data), "--port", str(port)),
        stdout=log,
        stderr=log,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), WITHIN_SECONDS)
        log.close()


@dataclass
class Service:
    """A process that prints each batch size it takes."""

    process: asyncio.subprocess.Process
    said: list[int] = field(default_factory=list)

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(int(line))

    async def runs_on(self, batch: int) -> None:
        await until(lambda: self.said[-1:] == [batch], within=WITHIN_SECONDS)


@asynccontextmanager
async def a_service(operator: Operator, token: str, environment: str, cache: Path) -> AsyncIterator[Service]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM_OF_THE_SERVICE, environment, f"one-in-{environment}", str(cache)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "CENTRAL_HUB_URL": operator.url, "CENTRAL_HUB_TOKEN": token},
    )
    service = Service(process)
    listening = asyncio.create_task(service.listen())
    try:
        yield service
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), WITHIN_SECONDS)
        await listening


async def until_it_answers(operator: Operator) -> None:
    async def answers() -> bool:
        return (await operator.run("services")).code == 0

    await eventually(answers, within=WITHIN_SECONDS)


async def it_registers_again(operator: Operator) -> None:
    """The hub that was restored knows of no instance until each has been told so."""

    async def is_registered() -> bool:
        return "converged: 1 applied" in await operator.does("status", SERVICE, "-e", "production")

    await eventually(is_registered, within=WITHIN_SECONDS)


async def onboard(operator: Operator) -> str:
    """Monday: a schema, a document for staging, and a token for the service; tried, and then promoted."""
    made = json.loads(
        await operator.does(
            *("token", "create", SERVICE, "--verb", "read", "--verb", "register", "--service", SERVICE, "--json")
        )
    )
    operator.write(f"{SERVICE}.schema.json", SCHEMA)
    operator.write(f"{SERVICE}@staging.json", CONFIG)
    said = await operator.does("apply", "-f", str(operator.files), "--yes", "--reason", "billing begins")
    assert "1 document and 1 schema" in said
    assert "like that already" in await operator.does("apply", "-f", str(operator.files), "--yes")
    token: str = made["token"]
    return token


async def ten_refusals(operator: Operator) -> None:
    """Tuesday: whatever would break it is refused, in a sentence that says why, and nothing of it is stored."""
    production = ("-e", "production", "--yes")
    refused = operator.is_refused
    before = await operator.last_change()
    await refused("set", SERVICE, "batch=many", *production, saying="/batch must be an integer")
    await refused("set", SERVICE, "batch=5000", *production, saying="/batch must be 1000 or less")
    await refused("set", SERVICE, "btach=50", *production, saying="btach")
    await refused("set", SERVICE, "--unset", "source", *production, saying="source")
    await refused("set", "_global", "currencies=[]", *production, saying=f"{SERVICE} in environment production")
    in_a_url = "https://reader:" + "Xk29vQ7pLm3" + "@rates.example"
    await refused("set", SERVICE, f"source.url={in_a_url}", *production, saying="source.url: looks like a credential")
    await refused("set", SERVICE, "source.api_key=plain", *production, saying="/source/api_key must be a reference")
    await refused("set", SERVICE, "batch=800", *production, saying="build 1.0 (1 instance: one-in-production)")
    await refused("set", SERVICE, "limit=many", *production, saying="would come back as text")
    shrunk = operator.write(f"{SERVICE}@production.json", {"batch": 1, "source": {}})
    await refused("apply", "-f", shrunk, "--yes", saying="say so with --allow delta")
    operator.write(f"{SERVICE}@staging.json", CONFIG | {"batch": 7})
    operator.write(f"{SERVICE}@production.json", CONFIG | {"batch": 0})
    await refused("apply", "-f", str(operator.files), "--yes", saying="/batch must be 1 or more")
    operator.write(f"{SERVICE}@production.json", '{"batch": 1, "batch": 2}')
    twice = await operator.run("apply", "-f", str(operator.files), "--yes")
    assert (twice.code, f"{SERVICE}@production.json" in twice.err) == (2, True), twice
    assert await operator.last_change() == before


@pytest.mark.timeout(400)
async def test_a_week_of_operations_through_the_command_line_alone(tmp_path: Path) -> None:
    port = free_port()
    files = tmp_path / "files"
    files.mkdir()
    backup = str(tmp_path / "wednesday.gz")
    with data_directory() as first:
        first.mkdir()
        first.chmod(0o711)
        operator = Operator(f"http://127.0.0.1:{port}", first / "monday", files)
        await _week(operator, port, backup, tmp_path)


async def _week(operator: Operator, port: int, backup: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as services:
        async with a_hub(operator.data, port) as hub:
            await until_it_answers(operator)

            # Monday: onboard, try in staging, promote.
            token = await onboard(operator)
            staging = await services.enter_async_context(a_service(operator, token, "staging", tmp_path / "staging"))
            await staging.runs_on(100)
            await operator.does("set", SERVICE, "batch=120", "-e", "staging", "--yes")
            await staging.runs_on(120)
            await operator.does("status", SERVICE, "--wait", "-e", "staging")
            promoted = await operator.does("promote", "--from", "staging", "--to", "production", "--yes")
            assert "1 document" in promoted
            production = await services.enter_async_context(
                a_service(operator, token, "production", tmp_path / "production")
            )
            await production.runs_on(120)
            assert "converged: 1 applied" in await operator.does("status", SERVICE, "--wait", "-e", "production")

            # Tuesday: everything that would hurt. A key that was removed does not come back as another type either.
            await operator.does("set", SERVICE, "--unset", "limit", "-e", "production", "--yes")
            await ten_refusals(operator)

            # Wednesday: a backup at night.
            good = await operator.revision()
            await operator.does("backup", backup)

            # Thursday: a change that was forced is refused by the service, and rolled back.
            forced = ("-e", "production", "--yes", "--allow", "contract", "--reason", "the new build comes at noon")
            assert "it was overridden" in await operator.does("set", SERVICE, "batch=800", *forced)
            waited = await operator.run("status", SERVICE, "--wait", "-e", "production")
            assert (waited.code, "refused by one-in-production" in waited.err) == (1, True), waited
            await operator.does("rollback", SERVICE, good, "-e", "production", "--yes")
            await operator.does("status", SERVICE, "--wait", "-e", "production")
            assert "the new build comes at noon" in await operator.does("log", "--limit", "5")
            was = json.loads(await operator.does("get", SERVICE, "--at", good, "-e", "production", "--json"))
            assert was["config"]["batch"] == 120
            await operator.does("set", SERVICE, "batch=130", "-e", "production", "--yes")
            await production.runs_on(130)

            # Friday: the machine is lost, with all its disks.
            os.killpg(hub.pid, signal.SIGKILL)
            await hub.wait()

        # The service runs on meanwhile, and the backup goes into a new place.
        operator.data = operator.data.with_name("friday")
        assert production.said[-1] == 130
        await operator.does("restore", backup)
        async with a_hub(operator.data, port):
            await until_it_answers(operator)
            await production.runs_on(120)
            assert (await operator.revision()).startswith("1.")
            await it_registers_again(operator)
            assert "is whole" in await operator.does("audit", "verify")
