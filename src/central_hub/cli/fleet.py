"""`status`, `services`: who runs what, and how far a change has got."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import typer

from central_hub.cli import converging
from central_hub.cli.discovering import listed
from central_hub.cli.key_paths import dotted_pointer
from central_hub.cli.options import READING, Environment, Service, parse_revision
from central_hub.cli.session import ExitCode, Failed, Session, command
from central_hub_client.wire import DEFAULT_ENVIRONMENT

DEFAULT_TIMEOUT: Final = 60.0
"""Seconds. Longer than a lease: an instance that ended without a word has fallen silent by then."""

Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Wait until every instance that is alive runs it; exit with 1 and the reasons where one does not.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0, help=f"With --wait: how long at most. By default {DEFAULT_TIMEOUT:g} s."
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        parser=parse_revision,
        metavar="REVISION",
        help="The revision that instances are to run, or a later one. By default the latest.",
        show_default=False,
    ),
]

_NOBODY: Final = "no instance is registered: nobody is known to run it"

Status = Mapping[str, Any]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(status)
    command(app, READING)(services)


def status(
    session: Session,
    service: Service,
    wait: Wait = False,
    timeout: Timeout = None,
    revision: Revision = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> None:
    """Show how far a revision of a service has got.

    Who runs it, who refused it and why, which keys nobody reads, and which are hidden by an instance's own settings.

    With --wait it exits with 0 once every instance that is alive has applied it, and with 1 where one refuses it or
    hides it, where the time is over, or after Ctrl-C. An instance that fell silent is named, and not waited for.
    """
    if wait:
        _wait(session, service, environment, revision, DEFAULT_TIMEOUT if timeout is None else timeout)
        return
    if timeout is not None:
        raise Failed("--timeout says how long to wait: say --wait as well", code=ExitCode.USAGE)
    found = session.hub.get(f"/config/status/{service}", environment=environment, revision=revision).value
    if session.output.as_json:
        session.output.json(found)
    else:
        _show(session, found)


def _wait(session: Session, service: str, environment: str, revision: str | None, timeout_seconds: float) -> None:
    waited = converging.wait_for(session, service, environment, revision, timeout_seconds)
    outcome, found = waited.outcome, waited.found
    if found is not None and session.output.as_json:
        session.output.json({"outcome": outcome, **found})
    elif found is not None:
        _show(session, found)
        if (absence := converging.absence(found)) is not None:
            session.output.note(absence)
    if not outcome.is_good:
        raise Failed(
            converging.sentence(waited, service, timeout_seconds),
            details=() if found is None else converging.details(found),
            outcome=outcome,
        )


def services(session: Session) -> None:
    """List the services that have instances, with how many there are of each and how they are."""
    by_service: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for instance in listed(session):
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


def _show(session: Session, found: Status) -> None:
    output = session.output
    output.text(f"{converging.subject_of(found)}, {_summary(found)}")
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
    if not found["instances"]:
        return _NOBODY
    word = "converged" if found["converged"] else "not converged"
    return f"{word}: {converging.counted(found)}"
