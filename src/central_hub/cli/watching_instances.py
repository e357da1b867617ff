"""`instances --watch`: follow the instances of a service live."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from central_hub.cli.hub_client import Event
from central_hub.cli.reconnecting import Reconnecting
from central_hub.cli.session import Session
from central_hub_client.errors import HubUnavailable, HubUnreachable

Line = Callable[[Mapping[str, Any]], str]


def follow(session: Session, service: str, environment: str, line: Line) -> None:
    """Print every instance, and then each that changes, until Ctrl-C. A hub that goes away is waited for."""
    reconnecting, shown = Reconnecting(session.output), _Shown(session, line)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            try:
                query = {"service": service, "environment": environment}
                for event in session.hub.events("/discovery/watch", last_event_id=None, **query):
                    reconnecting.heard()
                    shown.take(event)
                reconnecting.lost("the hub ended the stream")
            except (HubUnreachable, HubUnavailable) as error:
                reconnecting.lost(error.detail)


class _Shown:
    """What has been shown so far, instance by instance."""

    def __init__(self, session: Session, line: Line) -> None:
        self._output = session.output
        self._line = line
        self._lines: dict[str, str] = {}
        self._changed: dict[str, str] = {}

    def take(self, event: Event) -> None:
        """What is told together is shown together, with its time."""
        if self._output.as_json:
            self._output.json({"event": event.kind} | event.value, indent=None)
            return
        match event.kind:
            case "instances":
                listed = {found["instance_id"]: self._line(found) for found in event.value["instances"]}
                self._changed |= {name: "gone" for name in self._lines if name not in listed} | listed
            case "instance":
                self._changed[event.value["instance_id"]] = self._line(event.value)
            case "gone":
                self._changed[event.value["instance_id"]] = "gone"
            case "bookmark":
                self._show(event.value["as_of"])

    def _show(self, at: str) -> None:
        for name, line in self._changed.items():
            if self._lines.get(name, "gone") != line:
                self._output.text(f"{at}  {name}  {line}")
            self._lines[name] = line
        self._lines = {name: line for name, line in self._lines.items() if line != "gone"}
        self._changed.clear()
