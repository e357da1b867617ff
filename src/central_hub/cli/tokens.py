"""`token`: make, list and revoke tokens."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from central_hub.cli.durations import duration
from central_hub.cli.options import GUARDING
from central_hub.cli.session import Session, command, group

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who it is for: a person or a service.")]
Verbs = Annotated[
    list[str],
    typer.Option("--verb", metavar="VERB", help="read, write, register, force, approve or admin. Repeatable."),
]
Services = Annotated[
    list[str], typer.Option("--service", metavar="PATTERN", help="own-*; `*` does not cover _global. Repeatable.")
]
Environments = Annotated[list[str] | None, typer.Option("--environment", "-e", metavar="PATTERN", help="Repeatable.")]
Expires = Annotated[str | None, typer.Option("--expires", metavar="30d|12h", help="After how long it ends.")]


def _token_id(text: str) -> str:
    # It becomes a part of a path, and must not lead anywhere else.
    if re.fullmatch(r"[0-9a-f]{1,64}", text) is None:
        raise typer.BadParameter(f"{text!r} is no id of a token: `central-hub token list` shows them")
    return text


TokenId = Annotated[str, typer.Argument(parser=_token_id, metavar="ID", help="As `token list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    tokens = group(app, GUARDING, "token", "Make, list and revoke tokens.")
    command(tokens, GUARDING)(create)
    command(tokens, GUARDING, "list")(list_tokens)
    command(tokens, GUARDING)(revoke)


def create(
    session: Session,
    name: Name,
    verb: Verbs,
    service: Services,
    environment: Environments = None,
    expires: Expires = None,
) -> None:
    """Make a token. It is printed once and kept by the hub only as a hash."""
    body: dict[str, Any] = {"name": name, "verbs": verb, "services": service, "environments": environment or ["*"]}
    if expires is not None:
        body["expires_at"] = (datetime.now(UTC) + duration(expires)).isoformat()
    made = session.hub.write("POST", "/tokens", body).value
    if session.output.as_json:
        session.output.json(made)
        return
    session.output.text(made["token"])
    session.output.note(f"token {made['id']} for {name}: it is shown this once; hand it over safely")


def list_tokens(session: Session) -> None:
    """List the tokens that were not revoked, the expired ones too, without the tokens themselves."""
    tokens = session.hub.get("/tokens").value["tokens"]
    if session.output.as_json:
        session.output.json(tokens)
        return
    rows = [
        (
            token["id"],
            token["name"],
            " ".join(token["verbs"]),
            " ".join(token["services"]),
            " ".join(token["environments"]),
            token["created_at"],
            token["expires_at"] or "never",
        )
        for token in tokens
    ]
    session.output.table(("id", "name", "verbs", "services", "environments", "created", "expires"), rows)


def revoke(session: Session, token_id: TokenId) -> None:
    """End a token: within two seconds it opens nothing any more."""
    session.hub.write("DELETE", f"/tokens/{token_id}")
    if session.output.as_json:
        session.output.json({"revoked": token_id})
    else:
        session.output.text(f"token {token_id} is revoked")
