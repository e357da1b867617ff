"""`alerts dead` and `alerts redeliver`: what could not be told, and to have it told after all."""

import re
from typing import Annotated, Any, Final

import typer

from central_hub.cli.options import READING
from central_hub.cli.session import Session, command


def _notification_id(text: str) -> str:
    # It becomes a part of a path, and must not lead anywhere else.
    if re.fullmatch(r"[0-9a-f]{1,64}", text) is None:
        raise typer.BadParameter(f"{text!r} is no id of a notification: `central-hub alerts dead` shows them")
    return text


NotificationId = Annotated[
    str, typer.Argument(parser=_notification_id, metavar="ID", help="As `alerts dead` shows it, in full.")
]

_COLUMNS: Final = ("id", "channel", "given up", "attempts", "why", "about")


def register(alerts: typer.Typer) -> None:
    """Add the commands of this module to the group `alerts`."""
    command(alerts, READING)(dead)
    command(alerts, READING)(redeliver)


def dead(session: Session) -> None:
    """List what could not be told and was given up, the newest first, with the last reason."""
    found = session.hub.get("/alerts/notifications", state="dead", limit=1_000).value["notifications"]
    if session.output.as_json:
        session.output.json(found)
    elif found:
        session.output.table(_COLUMNS, [_row(one) for one in found])
    else:
        session.output.note("everything was told, or is still tried")


def redeliver(session: Session, notification_id: NotificationId) -> None:
    """Send one again that was given up, with the same id: a receiver who had it after all knows it by that."""
    found = session.hub.write("POST", f"/alerts/notifications/{notification_id}/redeliver").value
    if session.output.as_json:
        session.output.json(found)
    else:
        session.output.text(f"{found['id']} is sent again on {found['channel']}")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    first, *others = [f"{alert['rule']} {alert['subject']}" for alert in one["alerts"]] or ["?"]
    about = first + (f" and {len(others)} more" if others else "")
    return one["id"], one["channel"], one["ended_at"], str(one["attempts"]), one["error"], about
