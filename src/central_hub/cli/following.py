"""`watch`: follow services live, for as long as it takes."""

import contextlib
from typing import Annotated, Any

import typer

from central_hub.cli import change_list
from central_hub.cli.hub_client import Event
from central_hub.cli.options import READING, Environment, parse_service
from central_hub.cli.reconnecting import Reconnecting
from central_hub.cli.session import Failed, Session, command
from central_hub.config import diff
from central_hub_client.errors import CentralHubError, HubUnavailable, HubUnreachable
from central_hub_client.wire import DEFAULT_ENVIRONMENT

Services = Annotated[list[str], typer.Argument(parser=parse_service, metavar="SERVICE...", help="Which services.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(watch)


def watch(session: Session, services: Services, environment: Environment = DEFAULT_ENVIRONMENT) -> None:
    """Follow services live: one line for each change, with the keys that changed. Ctrl-C ends it.

    A hub that goes away is waited for, and what it changed meanwhile is shown when it is back.
    """
    reconnecting, shown = Reconnecting(session.output), _Shown(session)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            try:
                for event in session.hub.events(
                    "/config/watch", last_event_id=shown.position, service=services, environment=environment
                ):
                    reconnecting.heard()
                    shown.take(event)
                reconnecting.lost("the hub ended the stream")
            except (HubUnreachable, HubUnavailable) as error:
                reconnecting.lost(error.detail)
            except CentralHubError as error:
                if error.code not in ("epoch_changed", "history_gone"):
                    raise
                shown.restart()


class _Shown:
    """What has been shown so far."""

    def __init__(self, session: Session) -> None:
        self._output = session.output
        self._configs: dict[str, dict[str, Any]] = {}
        self.position: str | None = None

    def take(self, event: Event) -> None:
        if event.kind != "config":
            return
        if event.id:
            self.position = event.id
        found = event.value
        before = self._configs.get(found["service"])
        self._configs[found["service"]] = found["config"] or {}
        if self._output.as_json:
            self._output.json(found, indent=None)
        else:
            self._output.text(_line(found, before))

    def restart(self) -> None:
        """The history that was followed is gone: begin with the current state."""
        if self.position is None:
            raise Failed("the hub does not know where to begin")
        self._output.note("the hub's history has changed: showing the current state")
        self.position = None


def _line(found: dict[str, Any], before: dict[str, Any] | None) -> str:
    head = f"{found['updated_at']}  {found['epoch']}.{found['revision']}  {found['service']}"
    if found.get("deleted"):
        return f"{head}  deleted by {found['updated_by']}"
    if before is None:
        return f"{head}  version {found['version']}, last changed by {found['updated_by']}"
    changes = diff.changes(before, found["config"])
    lines = "; ".join(change_list.line(change) for change in changes) or "nothing that is sent changed"
    return f"{head}  {lines}  (by {found['updated_by']})"
