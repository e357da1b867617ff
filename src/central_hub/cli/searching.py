"""`log`: what happened to any document, searched."""

from typing import Annotated, Any

import typer

from central_hub.cli import change_list
from central_hub.cli.key_paths import parse_key, pointer
from central_hub.cli.options import READING, parse_environment, parse_service
from central_hub.cli.session import Session, command

Service = Annotated[
    str | None, typer.Argument(parser=parse_service, metavar="[SERVICE]", help="By default all that the token covers.")
]
Environment = Annotated[
    str | None,
    typer.Option("--environment", "-e", parser=parse_environment, metavar="NAME", help="By default all of them."),
]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Changes by this token.")]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="Changes of this: operational.batch_size")]
Text = Annotated[str | None, typer.Option("--text", metavar="TEXT", help="Changes with this in their reason.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From 2026-11-23T14:00:00Z on.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Up to 2026-11-23T14:00:00Z.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many entries.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, READING)(log)


def log(
    session: Session,
    service: Service = None,
    environment: Environment = None,
    by: By = None,
    key: Key = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
) -> None:
    """Show what happened to any document, newest first: by whom, when, why, and to which keys."""
    wanted = {
        "service": service,
        "environment": environment,
        "by": by,
        "path": None if key is None else pointer(parse_key(key)),
        "text": text,
        "since": since,
        "until": until,
    }
    found: list[dict[str, Any]] = []
    before: int | None = None
    while len(found) < limit:
        page = session.hub.get("/config/history", **wanted, before=before, limit=min(200, limit - len(found))).value
        found += page["history"]
        before = page["next"]
        if before is None:
            break
    if session.output.as_json:
        session.output.json(found)
        return
    if not found:
        session.output.note("nothing was found")
        return
    session.output.table(
        ("revision", "service", "environment", "at", "by", "action", "changes", "reason"),
        [
            (
                f"{entry['epoch']}.{entry['revision']}",
                entry["service"],
                entry["environment"],
                entry["changed_at"],
                entry["changed_by"],
                entry["action"],
                change_list.summary_of(entry),
                entry["reason"] or "",
            )
            for entry in found
        ],
    )
