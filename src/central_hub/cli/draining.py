"""`drain`: take instances out of routing, whatever they say of themselves, and put them back."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from central_hub.cli.discovering import Runnable, listed
from central_hub.cli.options import CHANGING, Environment
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub_client.routing.eligibility import eligible
from central_hub_client.service_instance import ServiceInstance
from central_hub_client.wire import DEFAULT_ENVIRONMENT, is_instance_id


def parse_instance(name: str) -> str:
    if not is_instance_id(name):
        raise typer.BadParameter(f"{name!r} cannot name an instance")
    return name


Instances = Annotated[
    list[str] | None,
    typer.Argument(
        parser=parse_instance, metavar="[INSTANCE]...", help="Which instances: their ids.", show_default=False
    ),
]
Zone = Annotated[
    str | None, typer.Option("--all-in-zone", metavar="ZONE", help="All of this zone.", show_default=False)
]
Undo = Annotated[bool, typer.Option("--undo", help="Put them back into routing.", show_default=False)]
Why = Annotated[
    str | None,
    typer.Option("--reason", "-m", metavar="TEXT", help="Why; listed with the instances.", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Even where nobody is left to call.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, CHANGING)(drain)


def drain(
    session: Session,
    service: Runnable,
    instance_ids: Instances = None,
    zone: Zone = None,
    undo: Undo = False,
    reason: Why = None,
    force: Force = False,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> None:
    """Take instances out of routing, until that is undone or the process is replaced.

    They are listed as `draining`, and nobody is sent to them, whatever they say of themselves. They hear of it with
    their next heartbeat, and go on running. Refused where nobody would be left to call, unless --force is given.
    """
    names = _named(session, service, environment, instance_ids or [], zone)
    if not undo and not force and len(names) > 1:
        _check_who_is_left(session, service, environment, names)
    body: dict[str, Any] = {"drain": not undo}
    if reason is not None:
        body["reason"] = reason
    changed = []
    for name in names:
        path = f"/discovery/{service}/{quote(name, safe='')}"
        answer = session.hub.write("PUT", path, body, environment=environment, force=True if force else None)
        changed.append(answer.value)
        if not session.output.as_json:
            session.output.text(f"{name}: {'back in routing' if undo else 'drained'}, {changed[-1]['state']}")
    if session.output.as_json:
        session.output.json(changed)


def _named(
    session: Session, service: str, environment: str, instance_ids: Sequence[str], zone: str | None
) -> list[str]:
    if (zone is None) == (not instance_ids):
        raise Failed("name the instances, or a zone with --all-in-zone", code=ExitCode.USAGE)
    if zone is None:
        return list(dict.fromkeys(instance_ids))
    found = [instance["instance_id"] for instance in listed(session, service, environment=environment, zone=zone)]
    if not found:
        raise Failed(f"{service} has no instance in zone {zone} of environment {environment}")
    return found


def _check_who_is_left(session: Session, service: str, environment: str, names: Sequence[str]) -> None:
    """Before any of several is drained: all but the last would be, and the last one would have to do for all."""
    known = [ServiceInstance.from_json(instance) for instance in listed(session, service, environment=environment)]
    if eligible(known) and not eligible(instance for instance in known if instance.instance_id not in names):
        raise Failed(
            f"without these {len(names)} no instance of {service} in environment {environment} could be called: nothing"
            " was changed; start others first, or say --force"
        )
