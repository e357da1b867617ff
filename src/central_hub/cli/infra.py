"""`infra`: what is under the services, how it is, and how it is now that somebody asks."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from typer.core import TyperGroup

from central_hub.cli import infrastructure_files
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

COLUMNS: Final = ("component", "type", "state", "since", "latency", "reason")


class _ShownByDefault(TyperGroup):
    """What is no command of its own is the component to show; nothing at all is the list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        shared = {name: not getattr(option, "is_flag", False) for option in self.params for name in option.opts}
        at = 0
        while at < len(args) and (name := args[at].partition("=")[0]) in shared:
            at += 1 + (shared[name] and "=" not in args[at])
        if at >= len(args) or (args[at].startswith("-") and args[at] not in ctx.help_option_names):
            args = [*args[:at], "list", *args[at:]]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if known else ["show", *args])


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    sentence = "`infra`, `infra NAME`: show how what is under the services is, check it, and validate its file."
    infra = group(app, READING, "infra", sentence, cls=_ShownByDefault)
    command(infra, READING, "list")(list_)
    command(infra, READING)(show)
    command(infra, READING)(check)
    command(infra, READING, is_local=True)(infrastructure_files.validate)


def list_(session: Session, state: State = None, section: InSection = None) -> None:
    """List every component with its state, since when, and why."""
    told = session.hub.get("/infrastructure/", state=state, section=section).value
    if told["error"] is not None:
        session.output.warn(
            f"the file has changed and is not right, so that what it said before holds: {told['error']}"
        )
    if session.output.as_json:
        session.output.json(told)
    elif told["components"]:
        session.output.table(COLUMNS, [component_row(component) for component in told["components"]], style_of=style_of)
    else:
        session.output.note("no component: the hub watches what the file of CENTRAL_HUB_INFRASTRUCTURE_FILE names")


def show(session: Session, name: Name, limit: Limit = 20) -> None:
    """Show a component: how it is, how it is reached and probed, and how its state came to be."""
    told = session.hub.get(_path(name), limit=limit).value
    if session.output.as_json:
        session.output.json(told)
        return
    session.output.table(COLUMNS, [component_row(told)], style_of=style_of)
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


def component_row(component: Mapping[str, Any]) -> Row:
    """A component as a row of `COLUMNS`."""
    state = component["state"] or "not probed"
    if component["maintenance"] is not None:
        state += ", maintenance"
    return (
        component["name"],
        component["type"],
        state,
        component["since"] or "",
        _latency(component),
        (component["reason"] or "") if component["state"] else "",
    )


def _latency(told: Mapping[str, Any]) -> str:
    return "" if told["latency_ms"] is None else f"{told['latency_ms']:.1f} ms"


def _path(name: str) -> str:
    return f"/infrastructure/{quote(name, safe='')}"
