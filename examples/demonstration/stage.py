"""The processes of the demonstration and the directory they live in: set up, and taken down whatever happens."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import psutil

from central_hub_client import ServiceDirectory
from examples.demonstration.caller import Caller
from examples.demonstration.narrator import Narrator
from examples.demonstration.programs import PATIENCE_SECONDS, SERVICE, Pilot, Program, StepFailed

CENTRAL_HUB: Final = Path(sys.executable).with_name("central-hub")
# In the environment of every process that is started here, so that each can be found again.
MARK: Final = "CENTRAL_HUB_DEMO"


class Stage:
    """The processes of the demonstration and the directory they live in."""

    def __init__(self, narrator: Narrator, directory: Path, stack: ExitStack) -> None:
        self.narrator = narrator
        self.data_dir = directory / "hub"
        self._directory = directory
        self._stack = stack
        self._http = stack.enter_context(httpx2.Client(timeout=10, trust_env=False))
        port = _free_port()
        self._hub_arguments = ["up", "--sample", "--data-dir", str(self.data_dir), "--port", str(port)]
        self.hub_url = f"http://127.0.0.1:{port}"
        self._platform_port = _free_port()
        self.platform = self._start_platform()
        self.hub = self._start_hub()

    def restart_hub(self) -> None:
        self.hub = self._start_hub()

    def restart_platform(self) -> None:
        self.platform = self._start_platform()

    def start_stand_in(self) -> str:
        """The stand-in's URL."""
        arguments: list[str | Path] = [sys.executable, "-m", "examples.polygon_historical_downloader.stand_in"]
        options = ["--port", "0", "--latency-seconds", "0.02", "--error-percent", "3", "--late-percent", "5"]
        stand_in = Program("the stand-in", [*arguments, *options], self._environment(POLYGON_API_KEY="demo"))
        self._stack.callback(stand_in.stop)
        _, line = stand_in.wait_for("listening", lambda line: line.startswith("listening on "))
        return line.removeprefix("listening on ")

    def start_pilot(self, name: str, api_url: str, token: str) -> Pilot:
        environment = self._environment(
            POLYGON_BASE_URL=api_url,
            POLYGON_API_KEY="demo",
            POLYGON_DATABASE=str(self._directory / f"{name.replace(' ', '-')}.sqlite"),
            POLYGON_STATUS_PORT=str(_free_port()),
            CENTRAL_HUB_URL=self.hub_url,
            CENTRAL_HUB_TOKEN=token,
            CENTRAL_HUB_CACHE_DIR=str(self._directory / "cache"),
        )
        pilot = Pilot(name, [sys.executable, "-m", "examples.polygon_historical_downloader"], environment)
        self._stack.callback(pilot.stop)
        return pilot

    def caller(self, token: str) -> Caller:
        """Another service, which calls the pilots."""
        directory = ServiceDirectory(
            SERVICE, central_hub_url=self.hub_url, token=token, cache_dir=self._directory / "caller"
        )
        return Caller(self._stack.enter_context(directory), self._http)

    def token_for_the_pilot(self) -> str:
        """A token that may read the pilot's configuration and register it, and nothing else."""
        body = {"name": "demo-pilot", "verbs": ["read", "register"], "services": [SERVICE], "environments": ["default"]}
        answer = self._http.post(f"{self.hub_url}/api/v1/tokens", json=body, headers=self._authorization())
        answer.raise_for_status()
        token: str = answer.json()["token"]
        return token

    def set(self, *assignments: str) -> datetime:
        """Change the pilot's document by the command line; when the hub committed it."""
        self._command("set", SERVICE, *assignments)
        history = self._get(f"/api/v1/config/history/{SERVICE}?limit=1")["history"]
        return datetime.fromisoformat(history[0]["changed_at"])

    def status(self) -> str:
        """Who runs the pilot's document, once the latest revision has got there: the first line."""
        return self._command("status", SERVICE, "--wait", "--timeout", "20").splitlines()[0]

    def drain(self, instance_id: str, *options: str) -> None:
        """Take an instance out of routing, or put it back."""
        self._command("drain", SERVICE, instance_id, *options)

    def show(self, *arguments: str) -> None:
        """What an operator sees who gives this command."""
        for line in self._command(*arguments).splitlines():
            self.narrator.say(f"  {line}")

    def alerts(self, state: str) -> list[dict[str, Any]]:
        """Those that are pending, firing or resolved."""
        found: list[dict[str, Any]] = self._get(f"/api/v1/alerts?state={state}")["alerts"]
        return found

    def picture(self) -> dict[str, Any]:
        """How everything is, as the dashboard has it."""
        return self._get("/api/v1/dashboard/health")

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for it. Raises StepFailed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise StepFailed(f"it did not come to {what} within {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.1)

    def acknowledge(self, alert: dict[str, Any], comment: str) -> None:
        self.show("alerts", "ack", alert["id"][:8], "-m", comment)

    def _command(self, *arguments: str) -> str:
        """What a command of the command line prints."""
        self.narrator.say(f"$ central-hub {' '.join(arguments)}")
        environment = self._environment(CENTRAL_HUB_URL=self.hub_url, CENTRAL_HUB_TOKEN=self._admin_token())
        answer = subprocess.run(
            [CENTRAL_HUB, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        if answer.returncode != 0:
            raise StepFailed(f"central-hub {arguments[0]} ended with {answer.returncode}: {answer.stderr.strip()}")
        return answer.stdout

    def _start_platform(self) -> Program:
        directory = self._directory / "platform"
        arguments: list[str | Path] = [sys.executable, "-m", "examples.demonstration.platform_postgres", directory]
        platform = Program("the platform", [*arguments, str(self._platform_port)], self._environment())
        self._stack.callback(platform.stop)
        platform.wait_for("listening", lambda line: line == "listening")
        return platform

    def _start_hub(self) -> Program:
        began = time.monotonic()
        platform = urlsplit((self._directory / "platform" / "database.url").read_text().strip())
        environment = self._environment(
            CENTRAL_HUB_INFRASTRUCTURE_FILE=str(Path(__file__).with_name("infrastructure.yaml")),
            PLATFORM_PORT=str(self._platform_port),
            PLATFORM_PASSWORD=platform.password or "",
        )
        hub = Program("the hub", [CENTRAL_HUB, *self._hub_arguments], environment)
        self._stack.callback(hub.stop)
        while not self._is_ready():
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise StepFailed("the hub was not ready in time:\n" + "\n".join(hub.lines[-20:]))
            if hub.has_ended:
                raise StepFailed("the hub ended:\n" + "\n".join(hub.lines[-20:]))
            time.sleep(0.02)
        self.narrator.measured("the hub is ready after", f"{time.monotonic() - began:.2f} s")
        return hub

    def _environment(self, **variables: str) -> dict[str, str]:
        """This process's environment, without the settings of any other hub."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CENTRAL_HUB_")}
        return inherited | variables | {MARK: str(self._directory)}

    def _get(self, path: str) -> dict[str, Any]:
        answer = self._http.get(f"{self.hub_url}{path}", headers=self._authorization())
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _is_ready(self) -> bool:
        """Whether it answers with the pilot's document: the sample is loaded once the hub is up."""
        try:
            answer = self._http.get(f"{self.hub_url}/api/v1/config/{SERVICE}", headers=self._authorization())
        except (httpx2.HTTPError, FileNotFoundError):
            return False
        return answer.status_code == httpx2.codes.OK

    def _admin_token(self) -> str:
        return (self.data_dir / "admin.token").read_text().strip()

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._admin_token()}"}


@contextmanager
def stage_for(narrator: Narrator) -> Iterator[Stage]:
    """Set up, and take down whatever happens: nothing is left running and nothing is left on disk.

    Raises StepFailed where something had to be helped to its end.
    """
    directory = Path(tempfile.mkdtemp(prefix="central-hub-demo-"))
    # As root the servers run under another account, which has to pass through to the data directory.
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    narrator.say(f"A hub of its own, with a PostgreSQL and a NATS, is started in {directory}:")
    try:
        with ExitStack() as stack:
            try:
                yield Stage(narrator, directory, stack)
            finally:
                # A second Ctrl-C must not keep the others from being stopped.
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_IGN)
        if left := _processes_of(directory):
            raise StepFailed(f"left running: {', '.join(process.name() for process in left)}")
        narrator.measured("processes left running", "0")
    finally:
        _end_processes_of(directory)
        shutil.rmtree(directory, ignore_errors=True)


def _processes_of(directory: Path) -> list[psutil.Process]:
    """All that belongs to the demonstration in `directory`, also the servers that a killed hub leaves behind."""

    def is_ours(process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == str(directory) or str(directory) in " ".join(process.cmdline())
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if is_ours(process)]


def _end_processes_of(directory: Path) -> None:
    # SIGINT ends a PostgreSQL fast and cleanly.
    for number in (signal.SIGINT, signal.SIGKILL):
        processes = _processes_of(directory)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        psutil.wait_procs(processes, timeout=10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
