"""`alerts`: what is amiss, who looks after it, and what nobody wants to hear of."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import typer

from central_hub.cli import notifications
from central_hub.cli.durations import duration
from central_hub.cli.groups import ListedByDefault
from central_hub.cli.hub_client import HubClient
from central_hub.cli.options import READING
from central_hub.cli.output import Row
from central_hub.cli.session import ExitCode, Failed, Session, command, group
from central_hub.monitoring.rules import Severity


def _alert_id(text: str) -> str:
    # It becomes a part of a path, and must not lead anywhere else.
    if re.fullmatch(r"[0-9a-f]{1,16}", text) is None:
        raise typer.BadParameter(f"{text!r} is no id of an alert: `central-hub alerts` shows them")
    return text


AlertId = Annotated[
    str, typer.Argument(parser=_alert_id, metavar="ID", help="As `alerts` shows it; the beginning is enough.")
]
State = Annotated[
    Literal["open", "pending", "firing", "resolved", "all"],
    typer.Option("--state", help="Only those in this state; open ones are pending or firing."),
]
OfSeverity = Annotated[Severity | None, typer.Option("--severity", help="Only of this severity.", show_default=False)]
Subject = Annotated[
    str | None, typer.Option("--subject", metavar="NAME", help="A component or a service.", show_default=False)
]
RuleName = Annotated[str | None, typer.Option("--rule", metavar="NAME", help="Of which rule.", show_default=False)]
Comment = Annotated[
    str | None, typer.Option("--comment", "-m", metavar="TEXT", help="What you say to it.", show_default=False)
]
Why = Annotated[str, typer.Option("--reason", "-m", metavar="TEXT", help="Why; listed with it.", show_default=False)]
For = Annotated[str, typer.Option("--for", metavar="2h|30m|1d", help="For how long.")]
Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="log, nats, or one of infrastructure.yaml.")]
SilenceId = Annotated[str, typer.Argument(parser=_alert_id, metavar="SILENCE", help="As `alerts silences` shows it.")]

_COLUMNS: Final = ("id", "severity", "state", "subject", "environment", "since", "summary", "told")
_SHOWN_ID: Final = 8


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    sentence = "`alerts`: list what is amiss. Acknowledge and silence alerts, and try channels."
    alerts = group(app, READING, "alerts", sentence, cls=ListedByDefault)
    command(alerts, READING, "list")(list_alerts)
    command(alerts, READING)(ack)
    command(alerts, READING)(silence)
    command(alerts, READING)(silences)
    command(alerts, READING)(unsilence)
    command(alerts, READING)(test)
    notifications.register(alerts)


def list_alerts(
    session: Session,
    state: State = "open",
    severity: OfSeverity = None,
    subject: Subject = None,
    rule: RuleName = None,
) -> None:
    """List alerts, the latest to begin first; by default those that are not resolved.

    One that a component's alert speaks for is told with that one, and says so.
    """
    found = listed(session.hub, state=None if state == "all" else state, severity=severity, subject=subject, rule=rule)
    if session.output.as_json:
        session.output.json(found)
    elif found:
        session.output.table(_COLUMNS, [row(alert) for alert in found])
    else:
        session.output.note("no alert is open" if state == "open" else "there is no such alert")


def ack(session: Session, alert_id: AlertId, comment: Comment = None) -> None:
    """Say that you look after an alert: it is not told again until it is resolved."""
    alert = _find(session.hub, alert_id)
    body = {} if comment is None else {"comment": comment}
    changed = session.hub.write("POST", f"/alerts/{alert['id']}/acknowledge", body).value
    if session.output.as_json:
        session.output.json(changed)
    else:
        session.output.text(
            f"{changed['rule']} {changed['subject']} is acknowledged by {changed['acknowledged']['by']}"
        )


def silence(session: Session, alert_id: AlertId, lasts: For, reason: Why = "") -> None:
    """Have nobody told of an alert for a while, however often it comes and goes. It stays listed."""
    alert = _find(session.hub, alert_id)
    body = {"for_seconds": int(duration(lasts).total_seconds()), "reason": reason}
    made = session.hub.write("POST", f"/alerts/{alert['id']}/silence", body).value
    if session.output.as_json:
        session.output.json(made)
    else:
        session.output.text(
            f"{alert['rule']} {alert['subject']} is silenced until {made['until']}: silence {made['id']}"
        )


def silences(session: Session) -> None:
    """List the silences that have not ended."""
    found = session.hub.get("/alerts/silences").value["silences"]
    if session.output.as_json:
        session.output.json(found)
    elif found:
        columns = ("id", "rule", "subject", "environment", "until", "by", "reason")
        names = ("id", "rule", "subject", "environment", "until", "created_by", "reason")
        session.output.table(columns, [tuple(each[name] or "" for name in names) for each in found])
    else:
        session.output.note("nothing is silenced")


def unsilence(session: Session, silence_id: SilenceId) -> None:
    """End a silence: what still fires and was not told is told."""
    session.hub.write("DELETE", f"/alerts/silences/{silence_id}")
    if session.output.as_json:
        session.output.json({"ended": silence_id})
    else:
        session.output.text(f"silence {silence_id} has ended")


def test(session: Session, channel: Channel) -> None:
    """Send a notification that is no alert, to see whether a channel works."""
    tried = session.hub.write("POST", "/alerts/test", {"channel": channel}).value
    if not tried["delivered"]:
        raise Failed(f"{channel} was not reached: {tried['reason']}", id=tried["id"])
    if session.output.as_json:
        session.output.json(tried)
    else:
        session.output.text(f"notification {tried['id']} was delivered on {channel}")


def listed(hub: HubClient, **filters: str | None) -> list[dict[str, Any]]:
    """All alerts that fit."""
    return [alert for page in hub.pages("/alerts", **filters) for alert in page["alerts"]]


def row(alert: Mapping[str, Any]) -> Row:
    """An alert as it stands in a table."""
    return (
        alert["id"][:_SHOWN_ID],
        alert["severity"],
        alert["state"],
        alert["subject"],
        alert["environment"] or "",
        alert["since"],
        alert["summary"],
        _told(alert),
    )


def _told(alert: Mapping[str, Any]) -> str:
    if alert["acknowledged"] is not None:
        return f"acknowledged by {alert['acknowledged']['by']}"
    if alert["caused_by"]:
        return f"with {', '.join(alert['caused_by'])}"
    affected = f", with {len(alert['affected'])} affected" if alert["affected"] else ""
    return f"to {', '.join(alert['notify'])}{affected}" if alert["is_told"] else "no"


def _find(hub: HubClient, beginning: str) -> dict[str, Any]:
    if len(beginning) == 16:
        found: dict[str, Any] = hub.get(f"/alerts/{beginning}").value
        return found
    matching = [alert for alert in listed(hub, state="open") if alert["id"].startswith(beginning)]
    if len(matching) != 1:
        raise Failed(
            f"{len(matching) or 'no'} open alerts have an id that begins with {beginning}: `central-hub alerts` shows"
            " them",
            code=ExitCode.USAGE,
        )
    return matching[0]
