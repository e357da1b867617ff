"""`get`, `explain`, `history`, `diff`: what the configuration is, where it comes from, and what it was."""

from typing import Annotated, Any

import typer

from central_hub.cli import change_list
from central_hub.cli.key_paths import WrongKey, dotted_pointer, find, parse_key, pointer
from central_hub.cli.legible import short
from central_hub.cli.options import READING, Environment, Service, parse_moment, parse_revision
from central_hub.cli.session import Failed, Session, command
from central_hub_client.errors import HubUnavailable
from central_hub_client.wire import DEFAULT_ENVIRONMENT

Own = Annotated[bool, typer.Option("--own", help="Only the document itself, without the layers under it.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at", parser=parse_moment, metavar="REVISION|TIME", help="As it was: 42, 1.42 or 2026-11-23T14:00:00Z."
    ),
]
Revision = Annotated[str | None, typer.Argument(parser=parse_revision, metavar="REVISION", help="42 or 1.42")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many entries.")]
Key = Annotated[str | None, typer.Argument(metavar="[KEY]", help="Only this: operational.batch_size")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(get)
    command(app, READING)(explain)
    command(app, READING)(history)
    command(app, READING)(diff)


def get(
    session: Session,
    service: Service,
    key: Key = None,
    own: Own = False,
    at: At = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> None:
    """Show the configuration of a service, or one value of it.

    What you see is what its instances are sent: the global document and the service's own, merged.
    """
    found = session.hub.get(f"/config/{service}", environment=environment, own=own, at=at).value
    output = session.output
    if key is not None:
        steps = parse_key(key)
        try:
            value = find(found["config"], steps)
        except WrongKey as error:
            raise Failed(f"{error} in the configuration of {service} in environment {environment}") from error
        if output.as_json:
            output.json(value)
        elif isinstance(value, str):
            output.text(value)
        else:
            output.document(value)
        return
    if output.as_json:
        output.json(found)
        return
    output.note(
        f"{service} in environment {environment}: revision {found['epoch']}.{found['revision']}, version"
        f" {found['version']}, changed by {found['updated_by']} at {found['updated_at']}"
    )
    output.document(found["config"])


def explain(
    session: Session,
    service: Service,
    key: Key = None,
    own: Own = False,
    at: At = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> None:
    """Show where every value of a configuration comes from: the layer, and who set it there last, when and why."""
    where, query = f"/config/{service}", {"environment": environment, "own": own, "at": at, "explain": True}
    try:
        found = session.hub.get(where, **query, blame=True).value
    except HubUnavailable:  # the history is in the store; which layer it is the hub knows without
        found = session.hub.get(where, **query).value
    provenance = found["provenance"]
    if key is not None:
        below = pointer(parse_key(key))
        provenance = {
            place: source for place, source in provenance.items() if place == below or place.startswith(f"{below}/")
        }
        if not provenance:
            raise Failed(f"there is no key {key} in the configuration of {service} in environment {environment}")
    if session.output.as_json:
        session.output.json(provenance)
        return
    rows = [
        (
            dotted_pointer(place),
            short(find(found["config"], parse_key(place)), width=40),
            source["layer"],
            *_setting(source),
        )
        for place, source in sorted(provenance.items())
    ]
    session.output.table(("key", "value", "layer", "revision", "by", "at", "reason"), rows)


def _setting(source: dict[str, Any]) -> tuple[str, str, str, str]:
    """The revision that set a value, by whom, when and why; of the whole layer where nothing more is known."""
    by = source.get("set_by")
    if by is None:
        return str(source["revision"]), source["changed_by"], "", ""
    return f"{by['epoch']}.{by['revision']}", by["changed_by"], by["changed_at"], by["reason"] or ""


def history(
    session: Session, service: Service, limit: Limit = 20, environment: Environment = DEFAULT_ENVIRONMENT
) -> None:
    """Show what happened to a document, newest first."""
    page = session.hub.get(f"/config/history/{service}", environment=environment, limit=limit).value
    if session.output.as_json:
        session.output.json(page)
        return
    rows = [
        (
            f"{entry['epoch']}.{entry['revision']}",
            entry["changed_at"],
            entry["changed_by"],
            entry["action"],
            entry["version"],
            change_list.summary_of(entry),
            entry["reason"] or "",
        )
        for entry in page["history"]
    ]
    session.output.table(("revision", "at", "by", "action", "version", "changes", "reason"), rows)


def diff(
    session: Session,
    service: Service,
    old: Revision = None,
    new: Revision = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> None:
    """Show what differs between two revisions of a document; by default the previous and the current one."""
    found = session.hub.get(f"/config/diff/{service}", environment=environment, from_=old, to=new).value
    if session.output.as_json:
        session.output.json(found)
        return
    before = "nothing" if found["from"] is None else f"revision {found['from']}"
    session.output.text(f"{service} in environment {environment}, from {before} to revision {found['to']}:")
    change_list.show(session.output, found["changes"])
    if not found["changes"]:
        session.output.text("  no difference")
