"""Central Hub at work, in two minutes: a hub, services that live on it, changes that arrive, calls that find their way
around what is drained or killed, a hub that dies, and a database under the services that dies and is told of once.

Everything is real and temporary: the hub with its own PostgreSQL and NATS, the pilot service, a stand-in for the API it
downloads from, all on 127.0.0.1 and in a directory that is removed at the end. Run it by `make demo`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import psutil

from central_hub_client import ServiceDirectory

REPOSITORY: Final = Path(__file__).resolve().parents[1]
CENTRAL_HUB: Final = Path(sys.executable).with_name("central-hub")
SERVICE: Final = "polygon-historical-downloader"
PLATFORM: Final = "platform-db"
PATIENCE_SECONDS: Final = 25.0
_LONGEST_LEASE_SECONDS: Final = 60.0
_BETWEEN_CALLS_SECONDS: Final = 0.02
# In the environment of every process that is started here, so that each can be found again.
MARK: Final = "CENTRAL_HUB_DEMO"


class StepFailed(Exception):
    """Something that should have happened did not. The message says what."""


class Program:
    """A process of the demonstration. Its output is read all the time, so that it never waits for us."""

    def __init__(self, name: str, arguments: list[str | Path], environment: dict[str, str]) -> None:
        self.name = name
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            arguments,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the demonstration, which ends the others in order
        )
        self._has_ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, what: str, fits: Callable[[str], bool], *, after: int = 0) -> tuple[int, str]:
        """The first line from number `after` on that `fits`, with its number. Raises StepFailed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        number = after
        with self._news:
            while True:
                for line in self.lines[number:]:
                    number += 1
                    if fits(line):
                        return number - 1, line
                if self._has_ended:
                    raise StepFailed(f"{self.name} ended before {what}")
                if not self._news.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise StepFailed(f"{self.name} did not come to {what} within {PATIENCE_SECONDS:.0f} s")

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    def kill(self) -> None:
        """SIGKILL: it has no chance to say goodbye."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and insist where it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()


class Pilot(Program):
    """The service. It prints one JSON object per line."""

    def wait_for_event(
        self, what: str, fits: Callable[[dict[str, Any]], bool], *, after: int = 0
    ) -> tuple[int, dict[str, Any]]:
        number, line = self.wait_for(what, lambda line: fits(_event(line)), after=after)
        return number, _event(line)

    def count(self, event: str, *, after: int = 0) -> int:
        return sum(_event(line).get("event") == event for line in self.lines[after:])


class Narrator:
    """Tells what happens, and keeps what was measured for the summary."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._measured: list[tuple[str, str]] = []

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", flush=True)

    def measured(self, what: str, value: str) -> None:
        self._measured.append((what, value))
        self.say(f"        {what}: {value}")

    def sum_up(self) -> None:
        self.measured("the whole demonstration", f"{time.monotonic() - self._began:.1f} s")
        print("\nSummary")
        for what, value in self._measured:
            print(f"  {what:<78} {value:>12}")


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

    def caller(self, token: str) -> "Caller":
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
        arguments: list[str | Path] = [sys.executable, "-m", "examples.platform_postgres", directory]
        platform = Program("the platform", [*arguments, str(self._platform_port)], self._environment())
        self._stack.callback(platform.stop)
        platform.wait_for("listening", lambda line: line == "listening")
        return platform

    def _start_hub(self) -> Program:
        began = time.monotonic()
        platform = urlsplit((self._directory / "platform" / "database.url").read_text().strip())
        environment = self._environment(
            CENTRAL_HUB_INFRASTRUCTURE_FILE=str(REPOSITORY / "examples" / "infrastructure.yaml"),
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


class Caller:
    """Calls the pilots, each time the one that its directory picks. It keeps a list of them, and asks no hub."""

    def __init__(self, directory: ServiceDirectory, http: httpx2.Client) -> None:
        self._directory = directory
        self._http = http
        self.tries_in_vain = 0

    def names(self, count: int) -> list[str]:
        """The instances that there are, the one that came first before the others, once there are so many."""
        began = time.monotonic()
        while len(instances := self._directory.instances(SERVICE)) < count:
            if time.monotonic() > began + PATIENCE_SECONDS:
                raise StepFailed(f"the directory does not know {count} instances")
            time.sleep(0.05)
        return [instance.instance_id for instance in instances]

    def call(self) -> str:
        """Who answered. One that cannot be reached costs another try, and no call. Raises StepFailed."""
        for _ in range(10):
            instance = self._directory.pick(SERVICE).instance
            try:
                answer = self._http.get(f"{instance.url}/status")
            except httpx2.TransportError:
                self.tries_in_vain += 1
                continue
            if answer.status_code == httpx2.codes.OK:
                return instance.instance_id
        raise StepFailed("a call was lost")

    def call_until(self, name: str) -> float:
        """Call until this one answers; the seconds that took. Raises StepFailed."""
        began = time.monotonic()
        while self.call() != name:
            if time.monotonic() > began + PATIENCE_SECONDS:
                raise StepFailed(f"no call came to {name}")
            time.sleep(_BETWEEN_CALLS_SECONDS)
        return time.monotonic() - began

    def call_until_only(self, name: str) -> float:
        """Call until twenty in a row were answered by this one, at the first try; the seconds until the first of them.
        Raises StepFailed."""
        began = since = time.monotonic()
        in_a_row = 0
        while in_a_row < 20:
            failed = self.tries_in_vain
            if self.call() == name and self.tries_in_vain == failed:
                in_a_row += 1
            else:
                since, in_a_row = time.monotonic(), 0
            if time.monotonic() > began + _LONGEST_LEASE_SECONDS:
                raise StepFailed(f"calls did not come to {name} alone")
            time.sleep(_BETWEEN_CALLS_SECONDS)
        return since - began


def show(stage: Stage) -> None:
    """The demonstration. Raises StepFailed where something does not happen."""
    narrator = stage.narrator
    narrator.say("The hub runs, with the documents of a sample fleet. First the pilot gets enough to do:")
    stage.set("download.start_date=today-90days")

    api_url, token = stage.start_stand_in(), stage.token_for_the_pilot()
    pilot = stage.start_pilot("the pilot", api_url, token)
    _, started = pilot.wait_for_event("its start", lambda event: event.get("event") == "started")
    if started["source"] != "hub":
        raise StepFailed(f"the pilot started from {started['source']} and not from the hub")
    _, page = pilot.wait_for_event("its first page", _is_page)
    narrator.say(
        f"The pilot downloads bars in pages of {page['batch_size']}, by revision {page['revision']} of the hub."
    )

    narrator.say("Smaller pages, while it runs:")
    _change(stage, pilot, "batch size", "operational.batch_size=250", lambda page: page["batch_size"] == 250)

    narrator.say("Other symbols:")
    symbols = ["EURUSD", "XAUUSD", "AUDUSD"]
    assignment = f"operational.symbols={json.dumps(symbols, separators=(',', ':'))}"
    since = _change(stage, pilot, "symbols", assignment, lambda page: page["symbol"] == "AUDUSD")
    pilot.wait_for_event("dropping USDJPY", _names("series_dropped", "USDJPY"), after=since)
    narrator.say("It has begun with AUDUSD and dropped GBPUSD and USDJPY, and the hub knows:")
    narrator.say(stage.status())

    narrator.say("Now the hub is killed (SIGKILL). The pilot goes on:")
    stage.hub.kill()
    killed, at = len(pilot.lines), time.monotonic()
    number = killed
    for _ in range(15):
        number, page = pilot.wait_for_event("going on without the hub", _is_page, after=number + 1)
    narrator.measured("pages stored without a hub", f"15 in {time.monotonic() - at:.1f} s")
    narrator.say(f"It works with revision {page['revision']} (source {page['source']}), as before.")

    narrator.say("The hub starts again, on what its database kept:")
    stage.restart_hub()
    _change(
        stage,
        pilot,
        "batch size after the restart",
        "operational.batch_size=500",
        lambda page: page["batch_size"] == 500,
    )

    _show_the_infrastructure(stage)
    _show_the_fleet(stage, stage.start_pilot("the second pilot", api_url, token), token)

    if failed := pilot.count("series_failed"):
        raise StepFailed(f"{failed} series failed")
    narrator.measured("pages stored in all", str(pilot.count("page_stored")))
    narrator.measured("gaps found and closed", f"{pilot.count('gap_found')} and {pilot.count('gap_closed')}")


def _show_the_infrastructure(stage: Stage) -> None:
    narrator = stage.narrator
    narrator.say(f"The fleet runs on a PostgreSQL of its own, {PLATFORM}, which the hub probes:")
    stage.until(f"{PLATFORM} being healthy", lambda: stage.picture()["infrastructure"]["states"]["healthy"] == 1)
    stage.show("graph")
    narrator.say("That PostgreSQL is stopped:")
    began, since = time.monotonic(), len(stage.hub.lines)
    stage.platform.stop()
    stage.until("an alert", lambda: bool(stage.alerts("firing")))
    narrator.measured("stopped: until the alert", f"{time.monotonic() - began:.1f} s")
    stage.hub.wait_for("telling of it", lambda line: "alert_firing" in line, after=since)
    stage.show("alerts")
    alerts = stage.alerts("firing")
    if len(alerts) != 1:
        raise StepFailed(f"there are {len(alerts)} alerts for one cause")
    narrator.say("One alert, and who is behind it:")
    stage.show("graph", "--of", PLATFORM)
    narrator.measured("services that the one alert names", str(len(alerts[0]["affected"])))
    narrator.say(f"The dashboard: {stage.picture()['state']}, {stage.picture()['reason']}")
    narrator.say("Somebody looks after it, and says so:")
    stage.acknowledge(alerts[0], "starting it again")
    stage.show("top", "--once")
    narrator.say("It is started again:")
    began = time.monotonic()
    stage.restart_platform()
    stage.until("the end of the alert", lambda: not stage.alerts("firing"))
    stage.hub.wait_for("telling of the end", lambda line: "alert_resolved" in line, after=since)
    narrator.measured("started: until the alert is resolved", f"{time.monotonic() - began:.1f} s")
    told = [sum(event in line for line in stage.hub.lines[since:]) for event in ("alert_firing", "alert_resolved")]
    narrator.measured("told of it, and of its end", f"{told[0]} and {told[1]} time")


def _show_the_fleet(stage: Stage, second: Pilot, token: str) -> None:
    narrator = stage.narrator
    narrator.say("A second pilot joins, and somebody calls them, in turn:")
    second.wait_for_event("its start", lambda event: event.get("event") == "started")
    caller = stage.caller(token)
    first_name, second_name = caller.names(2)
    caller.call_until(second_name)
    stage.show("top", "--once")

    narrator.say("The second one is drained. It runs on, and calls go around it:")
    stage.drain(second_name, "--reason", "maintenance")
    narrator.measured("drained: from the command to the last call", f"{caller.call_until_only(first_name):.2f} s")
    stage.show("top", "--once")
    stage.drain(second_name, "--undo")
    narrator.measured("back: from the command to its first call", f"{caller.call_until(second_name):.2f} s")

    narrator.say("The second one is killed (SIGKILL). It cannot say goodbye:")
    second.kill()
    caller.tries_in_vain = 0
    narrator.measured("killed: until nobody tries it any more", f"{caller.call_until_only(first_name):.1f} s")
    narrator.measured("calls that were lost, and tries in vain", f"0 and {caller.tries_in_vain}")
    stage.show("top", "--once")


def _change(stage: Stage, pilot: Pilot, name: str, assignment: str, shows: Callable[[dict[str, Any]], bool]) -> int:
    """Change one key and wait for a page that proves it; the number of the line where the pilot heard of it."""
    before = len(pilot.lines)
    path = assignment.partition("=")[0]
    committed = stage.set(assignment)
    number, heard = pilot.wait_for_event(
        f"hearing of {path}",
        lambda event: event.get("event") == "config_changed" and path in event["paths"],
        after=before,
    )
    stage.narrator.measured(f"{name}: from commit to the running service", _milliseconds(heard, committed))
    _, page = pilot.wait_for_event(
        f"working with {assignment}",
        lambda event: _is_page(event) and event["revision"] == heard["revision"] and shows(event),
        after=number,
    )
    stage.narrator.measured(f"{name}: from commit to the first page that shows it", _milliseconds(page, committed))
    return number


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


def _event(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_page(event: dict[str, Any]) -> bool:
    return event.get("event") == "page_stored"


def _names(event: str, symbol: str) -> Callable[[dict[str, Any]], bool]:
    return lambda values: values.get("event") == event and values.get("symbol") == symbol


def _milliseconds(event: dict[str, Any], since: datetime) -> str:
    return f"{(datetime.fromisoformat(event['time']) - since) / timedelta(milliseconds=1):.0f} ms"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _be_terminated(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, _be_terminated)
    narrator = Narrator()
    try:
        with stage_for(narrator) as stage:
            show(stage)
            narrator.say("Everything is stopped:")
    except StepFailed as failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped.", file=sys.stderr)
        return 130
    narrator.sum_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())
