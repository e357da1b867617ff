"""`health`: how services are, and which of their instances are to blame."""

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from central_hub.cli.discovering import AnyEnvironment, AnyRunnable
from central_hub.cli.options import READING
from central_hub.cli.session import Session, command

_COLUMNS = ("service", "environment", "state", "reason", "p50 ms", "p99 ms")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(health)


def health(session: Session, service: AnyRunnable = None, environment: AnyEnvironment = None) -> None:
    """Show how services are and why; of one service what it depends on, and every instance.

    The latencies are those of health endpoints over the last five minutes.
    """
    if service is not None:
        _show_one(session, service, environment)
        return
    found = list(services_health(session, environment))
    if session.output.as_json:
        session.output.json(found)
    elif found:
        session.output.table(_COLUMNS, [_row(entry["service"], entry) for entry in found])
    else:
        session.output.note("no instance is registered")


def services_health(session: Session, environment: str | None) -> Iterator[dict[str, Any]]:
    """How every service is in each environment."""
    for page in session.hub.pages("/health/services", environment=environment):
        yield from page["services"]


def _show_one(session: Session, service: str, environment: str | None) -> None:
    pages = list(session.hub.pages(f"/health/services/{service}", environment=environment))
    instances = [instance for page in pages for instance in page["instances"]]
    if session.output.as_json:
        session.output.json({**pages[-1], "instances": instances})
        return
    session.output.table(_COLUMNS, [_row(service, entry) for entry in pages[-1]["environments"]])
    # They are the same in every environment; an older hub tells none.
    if depends_on := pages[-1]["environments"][0].get("dependencies"):
        session.output.text("")
        session.output.table(("depends on", "need", "state", "reason"), [_dependency(found) for found in depends_on])
    session.output.text("")
    columns = ("environment", "instance", "state", "reason", "check", "last seen")
    session.output.table(columns, [_instance(instance) for instance in instances])


def _row(service: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    latency = entry["latency"]["5m"]
    return (
        service,
        entry["environment"],
        entry["state"],
        entry["reason"],
        _milliseconds(latency["p50_ms"]),
        _milliseconds(latency["p99_ms"]),
    )


def _dependency(found: Mapping[str, Any]) -> tuple[str, ...]:
    return found["name"], found["need"], found["state"] or "not probed", found["reason"] or ""


def _instance(instance: Mapping[str, Any]) -> tuple[str, ...]:
    check = instance["check"]
    told = "" if check is None else check["reason"] or f"{check['state']} in {_milliseconds(check['latency_ms'])} ms"
    return (
        instance["environment"],
        instance["instance_id"],
        instance["state"],
        instance["reason"] or "",
        told,
        instance["last_seen"],
    )


def _milliseconds(latency: float | None) -> str:
    return "" if latency is None else f"{latency:.3g}" if latency < 1000 else f"{latency:.0f}"
