"""`top`: the fleet at a glance, again and again: hub, infrastructure, services, and the instances that are not well."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from central_hub.cli.alerts import listed as listed_alerts
from central_hub.cli.discovering import AnyEnvironment, listed
from central_hub.cli.hub_client import HubClient
from central_hub.cli.infra import shown_state
from central_hub.cli.legible import visible
from central_hub.cli.options import READING
from central_hub.cli.output import Row
from central_hub.cli.service_health import services_health
from central_hub.cli.session import Session, command
from central_hub.cli.states import badness, style_of
from central_hub_client.errors import CentralHubError, HubUnavailable, HubUnreachable, NotFound
from central_hub_client.wire import WORST_FIRST, HealthState

Every = Annotated[float, typer.Option("--every", min=0.2, metavar="SECONDS", help="How often it looks.")]
Once = Annotated[bool, typer.Option("--once", help="Look once and end; so it is where the output is no terminal.")]

_COMPONENTS: Final = ("component", "state", "since", "reason")
_SERVICES: Final = ("service", "environment", "state", "instances", "revision", "applied", "p99", "reason")
_INSTANCES: Final = ("service", "environment", "instance", "state", "url", "last seen")
_SEVERITIES: Final = ("critical", "warning", "info")
_HEADLINES: Final = 8
"""Lines that are neither a service nor an instance."""
_ALERTS: Final = 5
"""Alerts that are spelled out above everything else."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(top)


def top(session: Session, environment: AnyEnvironment = None, every: Every = 2.0, once: Once = False) -> None:
    """Show the fleet live: the hub, what is under the services, every service with its state and revision, and the
    instances that are not well.

    The worst come first. A hub that goes away is waited for, and what it last said stays in sight. Ctrl-C ends it.
    """
    if once or session.output.as_json or not sys.stdout.isatty():
        _print(session, Picture.taken(session, environment))
        return
    with contextlib.suppress(KeyboardInterrupt):
        _live(session, environment, every)


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is shown, of one moment."""

    hub: dict[str, Any]
    infrastructure: list[dict[str, Any]]
    services: list[dict[str, Any]]
    instances: list[dict[str, Any]]
    alerts: list[dict[str, Any]]

    @classmethod
    def taken(cls, session: Session, environment: str | None) -> "Picture":
        """Ask the hub. Raises CentralHubError."""
        services = [
            service | {"config": _config(session.hub, service)} for service in services_health(session, environment)
        ]
        services.sort(key=lambda service: (badness(service["state"]), service["service"], service["environment"]))
        instances = sorted(
            listed(session, environment=environment),
            key=lambda instance: (badness(instance["state"]), instance["service"], instance["instance_id"]),
        )
        try:
            alerts = listed_alerts(session.hub, state="firing")
        except HubUnavailable:  # they are in the store, and all the rest is known without it
            alerts = []
        alerts.sort(key=lambda alert: (bool(alert["caused_by"]), _SEVERITIES.index(alert["severity"])))
        components = session.hub.get("/infrastructure/").value["components"]
        components.sort(key=lambda component: (badness(component["state"]), component["name"]))
        return cls(session.hub.get("/health").value, components, services, instances, alerts)

    def to_json(self) -> dict[str, Any]:
        return {
            "hub": self.hub,
            "infrastructure": self.infrastructure,
            "services": self.services,
            "instances": self.instances,
            "alerts": self.alerts,
        }


def _config(hub: HubClient, service: dict[str, Any]) -> dict[str, Any] | None:
    """How far the latest revision of its configuration has got; None where it has none and no instance any more."""
    try:
        status = hub.get(
            f"/config/status/{service['service']}", environment=service["environment"], instances="false"
        ).value
    except NotFound:
        return None
    return {name: status[name] for name in ("epoch", "revision", "states", "converged")}


def _print(session: Session, picture: Picture) -> None:
    output = session.output
    if output.as_json:
        output.json(picture.to_json())
        return
    for line, style in _headlines(session, picture):
        output.text(line, style)
    if picture.infrastructure:
        output.table(
            _COMPONENTS, [_component_row(component) for component in picture.infrastructure], style_of=style_of
        )
        output.text("")
    if picture.services:
        output.table(_SERVICES, [_service_row(service) for service in picture.services], style_of=style_of)
    shown = [instance for instance in picture.instances if _is_worth_a_line(instance)]
    if shown:
        output.text("")
        output.table(_INSTANCES, [_instance_row(instance) for instance in shown], style_of=style_of)


def _headlines(session: Session, picture: Picture) -> Iterator[tuple[str, str]]:
    hub, instances = picture.hub, picture.instances
    yield f"{session.place.url}  {hub['state']}  revision {hub['applied']}", style_of(hub["state"])
    for reason in hub["reasons"]:
        yield f"  {reason}", "yellow"
    counts = {state: sum(instance["state"] == state for instance in instances) for state in WORST_FIRST}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no instance is registered"
    yield f"{len(picture.services)} services, {len(instances)} instances: {told}", ""
    loud = [alert for alert in picture.alerts if not alert["caused_by"]]
    for alert in loud[:_ALERTS]:
        hit = f" ({len(alert['affected'])} affected)" if alert["affected"] else ""
        seen = ", acknowledged" if alert["acknowledged"] is not None else ""
        style = "bold red" if alert["severity"] == "critical" else "yellow"
        yield f"{alert['severity']}: {alert['summary']}{hit}{seen}", style
    if len(loud) > _ALERTS:
        yield f"and {len(loud) - _ALERTS} more alerts: central-hub alerts", "yellow"
    yield "", ""


def _component_row(component: dict[str, Any]) -> Row:
    """What fits into 80 columns; `infra` has the rest."""
    reason = "" if component["state"] in (None, HealthState.HEALTHY) else component["reason"] or ""
    return component["name"], shown_state(component), component["since"] or "", reason


def _service_row(service: dict[str, Any]) -> Row:
    config, p99 = service["config"], service["latency"]["1m"]["p99_ms"]
    revision = applied = ""
    if config is not None and config["revision"] is not None:
        states = config["states"]
        revision = f"{config['epoch']}.{config['revision']}"
        applied = f"{states['applied']} of {sum(states.values())}"
        applied += "".join(f", {states[state]} {state}" for state in ("rejected", "shadowed") if states[state])
    return (
        service["service"],
        service["environment"],
        service["state"],
        f"{service['callable']} of {sum(service['counts'].values())}",
        revision,
        applied,
        "" if p99 is None else f"{p99:.0f} ms",
        "" if service["state"] == HealthState.HEALTHY else service["reason"],
    )


def _is_worth_a_line(instance: dict[str, Any]) -> bool:
    return bool(instance["state"] != HealthState.HEALTHY or instance["kept"])


def _instance_row(instance: dict[str, Any]) -> Row:
    host, port = instance["host"], instance["port"]
    return (
        instance["service"],
        instance["environment"],
        instance["instance_id"],
        f"{instance['state']}, kept" if instance["kept"] else instance["state"],
        "" if host is None else f"{host}:{port}" if port else host,
        instance["last_seen"],
    )


def _live(session: Session, environment: str | None, every: float) -> None:
    from rich.live import Live

    picture: Picture | None = None
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            lost = ""
            try:
                picture = Picture.taken(session, environment)
            except (HubUnreachable, HubUnavailable) as error:
                lost = error.detail
            except CentralHubError:
                raise
            live.update(_screen(session, picture, lost, live.console.size.height), refresh=True)
            time.sleep(every)


def _screen(session: Session, picture: Picture | None, lost: str, height: int) -> Any:
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = []
    if lost:
        lines.append(Text(f"{time.strftime('%H:%M:%S')}  {visible(lost)}: what it last said stays below", "bold red"))
    if picture is None:
        return Group(*lines)
    # Each is one line, or the services would be pushed out of the screen.
    headlines = _headlines(session, picture)
    lines += [Text(visible(line), style, no_wrap=True, overflow="ellipsis") for line, style in headlines]
    room = max(3, height - _HEADLINES - len(lines))
    instances = [instance for instance in picture.instances if _is_worth_a_line(instance)]
    if picture.infrastructure:
        for_components = min(len(picture.infrastructure), max(2, room // 3))
        rows = [_component_row(component) for component in picture.infrastructure]
        lines += [_table(_COMPONENTS, rows, for_components), Text("")]
        room = max(3, room - for_components - 3)
    for_services = room - min(len(instances), room // 2)
    lines.append(_table(_SERVICES, [_service_row(service) for service in picture.services], for_services))
    if instances:
        rows = [_instance_row(instance) for instance in instances]
        lines += [Text(""), _table(_INSTANCES, rows, room - min(len(picture.services), for_services))]
    return Group(*lines)


def _table(columns: Row, rows: list[Row], most: int) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    state = columns.index("state")
    for column in columns:
        # What is left for it, and not what others need: a reason may be of any length.
        ratio = 1 if column == "reason" else None
        table.add_column(column.upper(), no_wrap=True, overflow="ellipsis", ratio=ratio)
    for row in rows[:most]:
        style = style_of(row[state])
        table.add_row(
            *(Text(visible(cell), style if index == state else "") for index, cell in enumerate(row)),
        )
    if len(rows) > most:
        table.add_row(Text(f"and {len(rows) - most} more", "dim"))
    return table
