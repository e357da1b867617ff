"""The recipes of the documentation as files and commands, so that what is run is what is printed there."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.harness import Hub, free_port

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
PROGRAMS = Path(sys.executable).parent
WITHIN_SECONDS = 60.0


@dataclass(frozen=True)
class Page:
    """One how-to."""

    text: str

    def write_files(self, directory: Path) -> None:
        """Every block of Python whose first line names its file."""
        blocks = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", self.text, re.DOTALL)
        assert blocks
        for name, source in blocks:
            (directory / name).write_text(source)

    def block(self, language: str) -> str:
        (found,) = re.findall(rf"```{language}\n(.*?)```", self.text, re.DOTALL)
        return str(found)

    def command(self, start: str) -> list[str]:
        """The one indented line that begins so, as the words of a command of this environment."""
        (line,) = re.findall(rf"^    ({re.escape(start)}.*)$", self.text, re.MULTILINE)
        program, *words = shlex.split(line, comments=True)
        return [str(PROGRAMS / program), *words]


def page(name: str) -> Page:
    return Page((PAGES / name).read_text(encoding="utf-8"))


@dataclass
class Started:
    """A process of a recipe, with its output in a file."""

    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        assert self.process.poll() is None, self.output()


@dataclass
class Place:
    """A directory to run recipes in, and the hub that they are told of."""

    directory: Path
    hub: Hub
    token: str
    started: list[Started] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CENTRAL_HUB_")}
        return kept | {
            "CENTRAL_HUB_URL": self.hub.url,
            "CENTRAL_HUB_TOKEN": self.token,
            "CENTRAL_HUB_CACHE_DIR": str(self.directory / "cache"),
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, command: list[str], **variables: str) -> Started:
        log = self.directory / f"output-{len(self.started)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environment | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.started.append(Started(process, log))
        return self.started[-1]

    async def run(self, command: list[str], **variables: str) -> str:
        """The output of a command that ends well."""
        started = self.start(command, **variables)
        status = await asyncio.to_thread(started.process.wait, WITHIN_SECONDS)
        assert status == 0, started.output()
        return started.output()

    async def put(self, service: str, config: Mapping[str, Any]) -> None:
        body = {"service": service, "config": config, "allow": ["removals", "delta"]}
        answer = await self.hub.http.post("/api/v1/config/update", json=body)
        assert answer.status_code == 200, answer.text

    async def forget(self, service: str) -> None:
        """Delete what an earlier test left."""
        path = f"/api/v1/config/{service}"
        found = await self.hub.http.get(path, params={"own": "true"})
        if found.status_code == 200:
            answer = await self.hub.http.delete(path, headers={"If-Match": found.headers["etag"]})
            assert answer.status_code == 200, answer.text


async def until(condition: Callable[[], bool], started: Started) -> None:
    """Wait until `condition` holds while the process runs."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while not condition():
        started.check()
        assert time.monotonic() < deadline, started.output()
        await asyncio.sleep(0.05)


class Workers:
    """What each worker process said last of its batch size."""

    def __init__(self, ask: Callable[[], Any], started: Started, count: int) -> None:
        self._ask = ask
        self._started = started
        self._count = count

    async def all_say(self, batch_size: int) -> set[int]:
        """Wait until every worker says so; returns their process ids."""
        said: dict[int, int] = {}
        deadline = time.monotonic() + WITHIN_SECONDS
        while not (len(said) >= self._count and set(said.values()) == {batch_size}):
            self._started.check()
            assert time.monotonic() < deadline, f"{said}, not {batch_size}\n{self._started.output()}"
            # Several at once, or one worker may answer them all.
            for answer in await asyncio.gather(*(self._ask() for _ in range(4)), return_exceptions=True):
                if isinstance(answer, dict):
                    said[answer["worker"]] = answer["batch_size"]
                else:
                    assert isinstance(answer, httpx2.HTTPError), answer
            await asyncio.sleep(0.02)
        return set(said)


def on_free_port(command: list[str]) -> tuple[list[str], str]:
    """The command with another port than 8000, and where it then answers."""
    port = free_port()
    return [word.replace("8000", str(port)) for word in command], f"http://127.0.0.1:{port}/"


def asker(url: str) -> Callable[[], Any]:
    async def ask() -> dict[str, Any]:
        async with httpx2.AsyncClient(timeout=10) as http:  # each time a new connection: it may go to another worker
            answer = await http.get(url)
            found: dict[str, Any] = json.loads(answer.raise_for_status().content)
            return found

    return ask


def mount(directory: Path, generation: str, files: dict[str, str]) -> None:
    """As a kubelet does it: the files behind a link to a folder, and the link replaced as one."""
    directory.mkdir(exist_ok=True)
    folder = directory / f"..{generation}"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data", name))
    (directory / "..data_tmp").symlink_to(folder.name)
    (directory / "..data_tmp").replace(directory / "..data")
    for old in directory.glob("..[0-9]*"):
        if old != folder:
            shutil.rmtree(old)
