"""`infra`: what is under the services, how it is, and how it is now that somebody asks."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from central_hub.cli import infrastructure_files
from central_hub.cli.groups import ListedByDefault, ShownByDefault
from central_hub.cli.options import READING
from central_hub.cli.output import Row
from central_hub.cli.session import ExitCode, Failed, Session, command, group
from central_hub.cli.states import style_of
from central_hub.monitoring.infrastructure import Section
from central_hub_client.wire import HealthState

Name = Annotated[str, typer.Argument(metavar="NAME", help="Which component.")]
State = Annotated[HealthState | None, typer.Option("--state", help="Only those in this state.", show_default=False)]
InSection = Annotated[
    Section | None, typer.Option("--section", help="Only those of this section of the file.", show_default=False)
]
Limit = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=200, metavar="N", help="How many of its last transitions.")
]

_COLUMNS: Final = ("component", "type", "state", "since", "latency", "reason")


class _ListedOrShown(ShownByDefault, ListedByDefault):
    """Nothing at all is the list, what is no command is the component to show."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    sentence = "`infra`, `infra NAME`: show how what is under the services is, check it, and validate its file."
    infra = group(app, READING, "infra", sentence, cls=_ListedOrShown)
    command(infra, READING, "list")(list_)
    command(infra, READING)(show)
    command(infra, READING)(check)
    command(infra, READING, is_local=True)(infrastructure_files.validate)


def list_(session: Session, state: State = None, section: InSection = None) -> None:
    """List every component with its state, since when, and why."""
    told = session.hub.get("/infrastructure/", state=state, section=section).value
    if told["error"] is not None:
        why = told["error"].replace("\n", "; ")
        session.output.warn(f"the file has changed and is not right, so that what it said before holds: {why}")
    if session.output.as_json:
        session.output.json(told)
    elif told["components"]:
        session.output.table(_COLUMNS, [_row(component) for component in told["components"]], style_of=style_of)
    else:
        session.output.note("no component: the hub watches what the file of CENTRAL_HUB_INFRASTRUCTURE_FILE names")


def show(session: Session, name: Name, limit: Limit = 20) -> None:
    """Show a component: how it is, how it is reached and probed, and how its state came to be."""
    told = session.hub.get(_path(name), limit=limit).value
    if session.output.as_json:
        session.output.json(told)
        return
    session.output.table(_COLUMNS, [_row(told)], style_of=style_of)
    session.output.text("")
    shape = {"connection": told["connection"], "probe": told["probe"], "depends_on": told["depends_on"]}
    session.output.document({key: value for key, value in shape.items() if value})
    if told["transitions"]:
        session.output.text("")
        columns = ("at", "from", "to", "reason")
        rows = [(each["at"], each["from"], each["to"], each["reason"] or "") for each in told["transitions"]]
        session.output.table(columns, rows)


def check(session: Session, name: Name) -> None:
    """Probe a component now. Ends with 1 where it fails, or where nothing can be measured."""
    told = session.hub.write("POST", f"{_path(name)}/check").value
    result = told["result"]
    if session.output.as_json:
        session.output.json(told)
    elif result["ok"]:
        session.output.text(f"{told['name']} answers: {_latency(result)}", "green")
    if not result["ok"]:
        what = "fails" if result["ok"] is False else "could not be measured"
        raise Failed(f"{told['name']} {what}: {result['reason'] or 'no reason is known'}", code=ExitCode.REFUSED)


def _row(component: Mapping[str, Any]) -> Row:
    return (
        component["name"],
        component["type"],
        shown_state(component),
        component["since"] or "",
        _latency(component),
        (component["reason"] or "") if component["state"] else "",
    )


def shown_state(component: Mapping[str, Any]) -> str:
    """The state of a component, and whether it is worked on."""
    state = component["state"] or "not probed"
    return state if component["maintenance"] is None else f"{state}, maintenance"


def _latency(told: Mapping[str, Any]) -> str:
    return "" if told["latency_ms"] is None else f"{told['latency_ms']:.1f} ms"


def _path(name: str) -> str:
    return f"/infrastructure/{quote(name, safe='')}"
