"""The pilot, and the recipes for Flask under gunicorn, Celery and FastAPI: one service of each kind, as processes."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.celery_on_files import Sender
from tests.acceptance.recipes import WITHIN_SECONDS, Place, Started, Workers, asker, on_free_port, page
from tests.faults.harness import Hub

REPOSITORY = Path(__file__).resolve().parents[2]
TOO_MANY = 40_000
CHECK = f"""
    @field_validator("batch_size")
    @classmethod
    def _is_not_too_many(cls, batch_size: int) -> int:
        if batch_size > {TOO_MANY}:
            raise ValueError("too many")
        return batch_size
"""
IMPORTS = """
import threading
from pydantic import field_validator
from central_hub_client import ConfigClient
"""
FAILURE = "a callback may fail"
CALLBACKS = f"""

def _fail(change: object) -> None:
    raise RuntimeError("{FAILURE}")


def _hang(change: object) -> None:
    threading.Event().wait()


def _call_back(change: object) -> None:
    with config.override(dict(other=1)):
        config.report()


for _callback in (_fail, _hang, _call_back):
    config.on_config_update(_callback)
"""
PILOT: dict[str, dict[str, Any]] = {
    "operational": {"symbols": ["EURUSD"], "timeframes": ["1d"], "gap_check_interval_hours": 100},
    "download": {"start_date": "2026-11-02", "end_date": "2026-11-13", "rate_limit_per_sec": 200},
}


def write_recipe(recipe: str, service: str, directory: Path, *, with_bus: bool) -> None:
    """The files of a how-to, whose settings have a rule of their own and whose service has bad callbacks."""
    page(recipe).write_files(directory)
    (module,) = directory.glob("*.py")
    source = module.read_text()
    changes = [("    batch_size: int = 100\n", f"    batch_size: int = 100\n{CHECK}")]
    if with_bus:
        manager = f'ConfigManager("{service}", Settings'
        changes.append((manager, f'{manager}, hub=ConfigClient("{service}", enable_nats_updates=True)'))
    for old, new in changes:
        assert source.count(old) == 1
        source = source.replace(old, new)
    module.write_text(f"{IMPORTS}{source}{CALLBACKS}")


@dataclass
class Service:
    """One of them. `ask` answers what one of its workers says, None where its log says it."""

    name: str
    place: Place
    command: list[str]
    workers: int
    ask: Callable[[], Any] | None
    variables: dict[str, str]
    invalid: dict[str, Any] = field(default_factory=lambda: {"operational": {"batch_size": TOO_MANY + 1}})
    valid: dict[str, Any] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)

    @property
    def started(self) -> Started:
        return self.place.started[-1]

    def start(self) -> None:
        self.place.start(self.command, **self.variables)

    async def put(self, batch_size: int) -> None:
        self.revisions[batch_size] = await self.merge(self.valid | {"operational": {"batch_size": batch_size}})

    async def merge(self, config: dict[str, Any]) -> int:
        """The revision that it takes."""
        body = {"service": self.name, "config": config, "mode": "merge", "allow": ["delta"]}
        answer = await self.place.hub.http.post("/api/v1/config/update", json=body)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["revision"])

    async def says(self, batch_size: int) -> None:
        """Wait until every worker says that it works with it."""
        if self.ask is not None:
            await Workers(self.ask, self.started, self.workers).all_say(batch_size)
            return
        before = self.started.log.stat().st_size
        deadline = time.monotonic() + WITHIN_SECONDS
        while self._revision_told_since(before) != self.revisions[batch_size]:
            self.started.check()
            assert time.monotonic() < deadline, f"not revision {self.revisions[batch_size]}: {self.started.output()}"
            await asyncio.sleep(0.05)

    def _revision_told_since(self, offset: int) -> int | None:
        whole_lines, _, _ = self.started.log.read_bytes()[offset:].rpartition(b"\n")
        told = [json.loads(line) for line in whole_lines.splitlines() if line.startswith(b"{")]
        revisions = [event["revision"] for event in told if event["event"] == "health"]
        return revisions[-1] if revisions else None

    async def end(self) -> int:
        """SIGTERM; its exit status."""
        self.started.process.terminate()
        return await asyncio.to_thread(self.started.process.wait, 60)

    async def kill(self) -> None:
        os.killpg(self.started.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.started.process.wait)


@dataclass
class Services:
    """All of them, which follow one number."""

    all: list[Service]
    number: int = 0

    async def change(self) -> int:
        """Store the next number for everybody."""
        self.number += 1
        await asyncio.gather(*(service.put(self.number) for service in self.all))
        return self.number

    async def all_say(self, number: int) -> None:
        await asyncio.gather(*(service.says(number) for service in self.all))


@dataclass(frozen=True)
class Surroundings:
    """What the services find on their machine: a small disk for their caches, and who is called what.

    Both need a mount namespace of their own, and that needs root: `holder` is the process that keeps it, or None.
    """

    directory: Path
    holder: int | None

    @property
    def cache(self) -> Path:
        """Where the services' cache is seen from outside."""
        inside = self.directory / "cache"
        return inside if self.holder is None else Path(f"/proc/{self.holder}/root/{inside}")

    @property
    def hub_name(self) -> str:
        return "127.0.0.1" if self.holder is None else "hub.internal"

    def names_live(self) -> None:
        self._names.write_text("127.0.0.1 localhost hub.internal\n")

    def names_die(self) -> None:
        self._names.write_text("127.0.0.1 localhost\n")

    def within(self, command: list[str], directory: Path) -> list[str]:
        if self.holder is None:
            return command
        enter = ["nsenter", "--target", str(self.holder), "--mount", "--", "sh", "-c", 'cd "$0" && exec "$@"']
        return [*enter, str(directory), *command]

    @property
    def _names(self) -> Path:
        return self.directory / "hosts"


@asynccontextmanager
async def surroundings(directory: Path) -> AsyncIterator[Surroundings]:
    (directory / "cache").mkdir()
    (directory / "hosts").touch()
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    script = """
        mount -t tmpfs -o size=1m tmpfs "$0/cache" &&
        mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf &&
        echo mounted && exec sleep 3600
    """
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        yield Surroundings(directory, None)
        return
    holder = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "sh", "-c", script, str(directory),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        mounted = await holder.stdout.readline()
        found = Surroundings(directory, holder.pid if mounted else None)
        found.names_live()
        yield found
    finally:
        if holder.returncode is None:
            holder.kill()
        await holder.wait()


@asynccontextmanager
async def services(
    around: Surroundings, hub: Hub, token: str, way_port: int, nats_url: str | None
) -> AsyncIterator[Services]:
    """All four, started and at the same number."""
    # Who is to believe the bus learns its keys from a hub on the same machine.
    host = around.hub_name if nats_url is None else "127.0.0.1"
    variables = {
        "CENTRAL_HUB_URL": f"http://{host}:{way_port}",
        "CENTRAL_HUB_CACHE_DIR": str(around.directory / "cache"),
    }
    if nats_url is not None:
        variables["CENTRAL_HUB_NATS_URL"] = nats_url

    def place(name: str) -> Place:
        (around.directory / name).mkdir()
        return Place(around.directory / name, hub, token)

    def web(name: str, recipe: str, start: str, *extra: str) -> Service:
        it = place(name)
        write_recipe(recipe, name, it.directory, with_bus=nats_url is not None)
        command, answers_at = on_free_port(page(recipe).command(start))
        command = around.within([*command, *extra], it.directory)
        return Service(name, it, command, 2, asker(answers_at), variables)

    def celery() -> Service:
        it = place("billing")
        write_recipe("celery.md", "billing", it.directory, with_bus=nats_url is not None)
        sender = Sender(it.directory)

        async def ask() -> Any:
            return await asyncio.to_thread(sender.call, "tasks.invoice", "2026-11-24")

        command = around.within(page("celery.md").command("celery --app"), it.directory)
        return Service("billing", it, command, 2, ask, variables)

    def pilot(api_url: str) -> Service:
        it = place("polygon-historical-downloader")
        connections = {
            "PYTHONPATH": str(REPOSITORY),
            "POLYGON_BASE_URL": api_url,
            "POLYGON_API_KEY": "any",
            # From the first moment on, not only when the hub has answered.
            "POLYGON_HISTORICAL_DOWNLOADER_HEALTH_CHECK__INTERVAL_SECONDS": "0.1",
            "POLYGON_DATABASE": str(it.directory / "bars.sqlite"),
        }
        command = around.within([sys.executable, "-m", "examples.polygon_historical_downloader"], it.directory)
        invalid = {"download": {"start_date": "no date"}}
        valid = {"download": {"start_date": PILOT["download"]["start_date"]}}
        return Service(it.directory.name, it, command, 1, None, variables | connections, invalid, valid)

    stand_in = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "examples.polygon_historical_downloader.stand_in", "--port", "0",
        cwd=REPOSITORY, env=os.environ | {"POLYGON_API_KEY": "any"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    found: list[Service] = []
    try:
        assert stand_in.stdout is not None
        listening = (await stand_in.stdout.readline()).decode()
        found += [
            pilot(listening.strip().removeprefix("listening on ")),
            web("orders", "flask-and-gunicorn.md", "gunicorn"),
            web("quotes", "fastapi.md", "uvicorn"),
            celery(),
        ]
        await found[0].merge(PILOT)
        running = Services(found)
        await running.change()
        for service in found:
            service.start()
        await running.all_say(running.number)
        yield running
    finally:
        for service in found:
            for started in service.place.started:
                if started.process.poll() is None:
                    os.killpg(started.process.pid, signal.SIGKILL)
                    started.process.wait()
        stand_in.terminate()
        await stand_in.communicate()
