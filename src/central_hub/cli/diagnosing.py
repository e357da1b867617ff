"""`doctor`: what is wrong here, and how to mend it."""

import asyncio
from typing import TYPE_CHECKING

import typer

from central_hub.cli.checks import Check
from central_hub.cli.options import GUARDING
from central_hub.cli.running import read_settings
from central_hub.cli.session import Failed, Session, command
from central_hub_client.errors import InvalidSettings

if TYPE_CHECKING:
    from central_hub.settings import HubSettings


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, GUARDING)(doctor)


def doctor(session: Session) -> None:
    """Look at everything that a hub and its callers need here, and say what is wrong and how to mend it.

    The database and the bus are tried from here where CENTRAL_HUB_DATABASE_URL and CENTRAL_HUB_NATS_URL name them, or
    where the data directory is that of a running hub.
    """
    checks = _look(session)
    output = session.output
    if output.as_json:
        output.json(
            [
                {"what": item.what, "ok": item.ok, "found": item.found, "remedy": "" if item.ok else item.remedy}
                for item in checks
            ]
        )
    for check in [] if output.as_json else checks:
        output.text(f"{'ok     ' if check.ok else 'PROBLEM'}  {check.what}: {check.found}", _STYLES[check.ok])
        if not check.ok:
            output.text(f"         → {check.remedy}")
    wrong = sum(not check.ok for check in checks)
    if wrong:
        raise Failed(f"{wrong} of {len(checks)} checks found a problem")


def _look(session: Session) -> list[Check]:
    from central_hub.cli import host_checks, hub_checks

    settings = read_settings(session)
    checks = host_checks.check_versions()
    try:
        place = session.place
        hub = hub_checks.check_hub(place, session.hub)
        is_here = place.is_local
    except InvalidSettings as error:
        hub, is_here = [Check("hub", False, error.detail, "name the right one with --url and --token-file")], True
    answers = hub[0].ok
    embedded = settings.database_url is None
    checks.append(host_checks.check_own_servers(are_needed=is_here and embedded and not answers))
    checks += host_checks.check_data_directory(settings.data_dir)
    if is_here and not answers:
        checks.append(host_checks.check_port(settings))
    return [*checks, *hub, *asyncio.run(_servers(settings, is_running=is_here and answers))]


async def _servers(settings: "HubSettings", *, is_running: bool) -> list[Check]:
    from central_hub.cli import host_checks

    # Servers of `up` run with it: where no hub answers there is nothing to try.
    database_url, nats_url = (
        told.get_secret_value() if told is not None else _noted(settings, name) if is_running else ""
        for told, name in ((settings.database_url, "database.url"), (settings.nats_url, "nats.url"))
    )
    checks = await host_checks.check_postgres(database_url) if database_url else []
    return [*checks, *(await host_checks.check_nats(nats_url) if nats_url else [])]


def _noted(settings: "HubSettings", name: str) -> str:
    try:
        return (settings.data_dir / name).read_text(encoding="utf-8").strip()
    except OSError:  # not the data directory of a hub with servers of its own, or not ours to read
        return ""


_STYLES = {True: "green", False: "bold red"}
