"""`status`, `services`: who runs what, and how far a change has got."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import typer

from central_hub.cli.key_paths import dotted_pointer
from central_hub.cli.options import READING, Environment, Service
from central_hub.cli.session import Failed, Session, command
from central_hub_client.wire import DEFAULT_ENVIRONMENT

Wait = Annotated[
    float | None,
    typer.Option(
        "--wait", metavar="SECONDS", min=0, help="Wait until every instance runs the latest revision, or one refuses."
    ),
]

_LOOK_AGAIN_SECONDS: Final = 0.5
_NOBODY: Final = "no instance is registered: nobody is known to run it"

Status = Mapping[str, Any]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(status)
    command(app, READING)(services)


def status(
    session: Session, service: Service, wait: Wait = None, environment: Environment = DEFAULT_ENVIRONMENT
) -> None:
    """Show how far the latest revision of a service has got.

    Who runs it, who refused it and why, which keys nobody reads, and which are hidden by an instance's own settings.
    """
    found = _converged(session, service, environment, wait)
    if session.output.as_json:
        session.output.json(found)
    else:
        _show(session, found)
    if wait is not None and not found["converged"]:
        raise Failed(f"{service} in environment {environment} is {_summary(found)}")


def services(session: Session) -> None:
    """List the services that have instances, with how many there are of each and how they are."""
    by_service: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for instance in _instances(session):
        by_service.setdefault((instance["service"], instance["environment"]), []).append(instance)
    rolled_up: list[dict[str, Any]] = [
        {
            "service": service,
            "environment": environment,
            "instances": len(instances),
            "states": dict(Counter(instance["state"] for instance in instances)),
            "versions": sorted({instance["version"] for instance in instances if instance["version"] is not None}),
        }
        for (service, environment), instances in sorted(by_service.items())
    ]
    if session.output.as_json:
        session.output.json(rolled_up)
        return
    if not rolled_up:
        session.output.note("no instance of any service is registered")
        return
    rows = [
        (
            entry["service"],
            entry["environment"],
            str(entry["instances"]),
            ", ".join(f"{count} {state}" for state, count in sorted(entry["states"].items())),
            " ".join(entry["versions"]),
        )
        for entry in rolled_up
    ]
    session.output.table(("service", "environment", "instances", "state", "versions"), rows)


def _converged(session: Session, service: str, environment: str, wait: float | None) -> Status:
    """The status, once it is settled or the waiting is over."""
    deadline = time.monotonic() + (wait or 0)
    while True:
        found: Status = session.hub.get(f"/config/status/{service}", environment=environment).value
        refused = any(instance["state"] == "rejected" for instance in found["instances"])
        remaining = deadline - time.monotonic()
        if found["converged"] or refused or remaining <= 0:
            return found
        time.sleep(min(_LOOK_AGAIN_SECONDS, remaining))


def _instances(session: Session) -> Iterable[dict[str, Any]]:
    after: str | None = None
    while True:
        page = session.hub.get("/discovery/", after=after).value
        yield from page["instances"]
        after = page["next"]
        if after is None:
            return


def _show(session: Session, found: Status) -> None:
    output = session.output
    at = "no configuration" if found["revision"] is None else f"revision {found['epoch']}.{found['revision']}"
    output.text(f"{found['service']} in environment {found['environment']}: {at}, {_summary(found)}")
    instances = found["instances"]
    if not instances:
        return
    rows = [
        (
            instance["instance_id"],
            instance["version"] or instance["build"] or "",
            ""
            if instance["applied_revision"] is None
            else f"{instance['applied_epoch']}.{instance['applied_revision']}",
            instance["state"],
            instance["last_seen"],
            instance.get("error", ""),
        )
        for instance in instances
    ]
    output.table(("instance", "version", "applied", "state", "last seen", "error"), rows)
    # A key that one instance reads is in use, whatever the others do with it.
    reporting = [instance for instance in instances if instance["state"] != "silent"]
    unread = set.intersection(*(set(instance["unread_keys"]) for instance in reporting)) if reporting else set()
    _list(session, "read by nobody", unread)
    for sentence, kind in (
        ("declared by no model", "unknown_keys"),
        ("hidden by an instance's own settings", "shadowed_keys"),
        ("sent by nobody, so the default counts", "defaulted_keys"),
    ):
        _list_where(session, sentence, kind, instances)


def _list(session: Session, sentence: str, keys: Iterable[str]) -> None:
    if shown := sorted(map(dotted_pointer, keys)):
        session.output.text(f"{sentence}:")
        for key in shown:
            session.output.text(f"  {key}")


def _list_where(session: Session, sentence: str, kind: str, instances: Iterable[Mapping[str, Any]]) -> None:
    places: dict[str, list[str]] = {}
    for instance in instances:
        for key in instance[kind]:
            places.setdefault(dotted_pointer(key), []).append(instance["instance_id"])
    if places:
        session.output.text(f"{sentence}:")
        for key, names in sorted(places.items()):
            session.output.text(f"  {key}  at {', '.join(names)}")


def _summary(found: Status) -> str:
    counted = Counter(instance["state"] for instance in found["instances"])
    if not counted:
        return _NOBODY
    word = "converged" if found["converged"] else "not converged"
    return f"{word}: {', '.join(f'{count} {state}' for state, count in sorted(counted.items()))}"
