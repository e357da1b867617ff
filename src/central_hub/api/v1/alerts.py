"""Alerts: listed, acknowledged, silenced; and channels tried.

Alerts about services are shown to whoever may read the service, those about infrastructure and the hub to every reader;
who changes something about these needs a token for every service and environment.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

import orjson
from fastapi import APIRouter, Depends, Query, Response

from central_hub.api.auth import authorise_for_the_fleet, check_environment, needs
from central_hub.api.body import JSON, Body, strict_body
from central_hub.api.v1.bodies import Acknowledgement, NewSilence, TriedChannel, parse
from central_hub.api.v1.openapi import PROBLEMS, request_body
from central_hub.api.v1.openapi_alerts import ALERT, ALERTS, SILENCE, SILENCES, TRIED
from central_hub.api.v1.queries import AlertsQuery, NoQuery
from central_hub.audit.chain import rfc3339
from central_hub.errors import InvalidRequest, NotFound
from central_hub.monitoring.alert_desk import no_alert
from central_hub.monitoring.condition import ConditionKind
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.alert_values import Affected, Alert, AlertState, Silence
from central_hub.storage.alerts import Covered, Place, Wanted

Reader = Annotated[Grant, Depends(needs(Verb.READ))]
Writer = Annotated[Grant, Depends(needs(Verb.WRITE))]
JsonBody = Annotated[Body, Depends(strict_body(JSON))]
Nothing = Annotated[NoQuery, Query()]
Found = TypeVar("Found")

OF_SERVICES: Final = frozenset(
    {ConditionKind.SERVICE, ConditionKind.CONFIG_REJECTED, ConditionKind.CONFIG_NOT_CONVERGED}
)
LONGEST_SILENCE: Final = timedelta(days=366)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ID_DIGITS: Final = frozenset("0123456789abcdef")


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/alerts`."""
    router = APIRouter(prefix="/alerts", tags=["alerts"], responses=PROBLEMS)
    desk = hub.alert_desk

    @router.get("", responses=ALERTS)
    async def list_alerts(grant: Reader, query: Annotated[AlertsQuery, Query()]) -> Response:
        """Alerts that the token covers, the latest to begin first, page by page; resolved ones are kept 90 days."""
        if query.environment is not None:
            check_environment(query.environment)
        # Not left out here but by the store: how full a page is, and that there is another, would tell of them.
        covered = Covered(OF_SERVICES, grant.services, grant.environments)
        found = await desk.listed(_wanted(query), covered, after=_place(query.after), limit=query.limit)
        upcoming = _cursor(found[-1]) if len(found) == query.limit else None
        shown = [_described(alert, grant) for alert in found if _covers(grant, alert)]
        return _answer({"alerts": shown, "next": upcoming})

    @router.get("/silences", responses=SILENCES)
    async def list_silences(grant: Reader, _: Nothing) -> Response:
        """Silences that have not ended, of what the token covers."""
        found = [silence for silence in await desk.silences() if _covers_silence(grant, silence)]
        return _answer({"silences": [_silence(silence) for silence in found]})

    @router.delete("/silences/{silence_id}", status_code=204)
    async def end_silence(grant: Writer, silence_id: str, _: Nothing) -> Response:
        """End a silence. Alerts that it kept quiet and that still fire are told within seconds."""
        silence = await _known(silence_id, desk.find_silence)
        if silence is None or not _covers_silence(grant, silence):
            raise NotFound("there is no such silence, or it has ended")
        if not silence.environment:
            authorise_for_the_fleet(grant)
        await desk.end_silence(silence.id, by=grant.name)
        return Response(status_code=204)

    @router.post("/test", openapi_extra=request_body(TriedChannel), responses=TRIED)
    async def try_channel(grant: Writer, body: JsonBody, _: Nothing) -> Response:
        """Send a notification that is no alert, to see whether a channel works, and say whether it was delivered.

        It is tried once. 404 where there is no such channel.
        """
        asked = parse(TriedChannel, body.value)
        authorise_for_the_fleet(grant)
        tried = await hub.notifier.send_test(asked.channel, by=grant.name, hub=hub.tail.snapshot.hub_id)
        return _answer({"id": tried.id, "delivered": tried.delivered, "reason": tried.reason})

    @router.get("/{alert_id}", responses=ALERT)
    async def one_alert(grant: Reader, alert_id: str, _: Nothing) -> Response:
        """One alert."""
        return _answer(_described(await seen(grant, alert_id), grant))

    @router.post("/{alert_id}/acknowledge", openapi_extra=request_body(Acknowledgement), responses=ALERT)
    async def acknowledge(grant: Writer, alert_id: str, body: JsonBody, _: Nothing) -> Response:
        """Say that somebody looks after it: it is not told again until it is resolved."""
        asked = parse(Acknowledgement, body.value)
        alert = await to_change(grant, alert_id)
        changed = await desk.acknowledge(alert.id, by=grant.name, comment=asked.comment)
        return _answer(_described(changed, grant))

    @router.post("/{alert_id}/silence", openapi_extra=request_body(NewSilence), responses=SILENCE)
    async def silence(grant: Writer, alert_id: str, body: JsonBody, _: Nothing) -> Response:
        """Tell nobody of it, and of whatever the same rule says of the same subject, for a while.

        It goes on being listed. If it fires when the silence ends and was not told before, it is told then.
        """
        asked = parse(NewSilence, body.value)
        alert = await to_change(grant, alert_id)
        until = _until(asked, hub.clock())
        return _answer(_silence(await desk.silence(alert, by=grant.name, until=until, reason=asked.reason)))

    async def seen(grant: Grant, alert_id: str) -> Alert:
        alert = await _known(alert_id, desk.find)
        if alert is None or not _covers(grant, alert):
            raise no_alert(alert_id[:16])
        return alert

    async def to_change(grant: Grant, alert_id: str) -> Alert:
        alert = await seen(grant, alert_id)
        if alert.kind not in OF_SERVICES:
            authorise_for_the_fleet(grant)
        return alert

    return router


async def _known(named: str, find: Callable[[str], Awaitable[Found]]) -> Found | None:
    """What has this id; None for a text that is no id."""
    return await find(named) if len(named) == 16 and _ID_DIGITS.issuperset(named) else None


def _covers(grant: Grant, alert: Alert) -> bool:
    return alert.kind not in OF_SERVICES or grant.covers(alert.subject, alert.environment)


def _covers_silence(grant: Grant, silence: Silence) -> bool:
    """Only what is about a service has an environment."""
    return not silence.environment or silence.subject is None or grant.covers(silence.subject, silence.environment)


def _until(asked: NewSilence, now: datetime) -> datetime:
    until = now + timedelta(seconds=asked.for_seconds) if asked.for_seconds is not None else asked.until
    assert until is not None  # noqa: S101 - the model has seen to it
    if not now < until <= now + LONGEST_SILENCE:
        raise InvalidRequest("a silence ends in the future, within a year")
    return until


def _wanted(query: AlertsQuery) -> Wanted:
    return Wanted(
        state=None if query.state in (None, "open") else AlertState(query.state),
        is_open=True if query.state == "open" else None,
        severity=query.severity,
        subject=query.subject,
        rule=query.rule,
        environment=query.environment,
    )


def _cursor(alert: Alert) -> str:
    return f"{(alert.since - _EPOCH) // timedelta(microseconds=1)}/{alert.id}"


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    microseconds, _, alert_id = cursor.partition("/")
    return _EPOCH + timedelta(microseconds=int(microseconds)), alert_id


def _described(alert: Alert, grant: Grant) -> dict[str, Any]:
    hidden = [each for each in alert.affected if each.kind in OF_SERVICES and not _may_know(grant, each)]
    acknowledged = None
    if alert.acknowledged_at is not None:
        acknowledged = {
            "by": alert.acknowledged_by,
            "at": rfc3339(alert.acknowledged_at),
            "comment": alert.acknowledgement,
        }
    return {
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "state": alert.state,
        "rule": alert.rule,
        "kind": alert.kind,
        "subject": alert.subject,
        "environment": alert.environment or None,
        "severity": alert.severity,
        "summary": _without(alert.summary, hidden),
        "reason": alert.reason,
        "labels": dict(alert.labels),
        "notify": list(alert.notify),
        "since": rfc3339(alert.since),
        "fired_at": _time(alert.fired_at),
        "resolved_at": _time(alert.resolved_at),
        "notified_at": _time(alert.notified_at),
        "is_told": alert.is_told,
        "caused_by": list(alert.caused_by),
        "affected": [
            {"kind": each.kind, "subject": each.subject, "environment": each.environment or None}
            for each in alert.affected
            if each not in hidden
        ],
        "acknowledged": acknowledged,
    }


def _without(summary: str, hidden: Sequence[Affected]) -> str:
    """The sentence of a rule, which may name them, without their names."""
    if not hidden:
        return summary
    # The longest first, and whole: what is left of one in which another one was found would tell of it.
    names = sorted(map(str, hidden), key=len, reverse=True)
    return re.sub(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])", "…", summary)


def _may_know(grant: Grant, hit: Affected) -> bool:
    """One that does not show it yet is named without an environment."""
    return grant.covers(hit.subject, hit.environment) if hit.environment else grant.covers_service(hit.subject)


def _silence(silence: Silence) -> dict[str, Any]:
    return {
        "id": silence.id,
        "rule": silence.rule,
        "subject": silence.subject,
        "environment": silence.environment or None,
        "reason": silence.reason,
        "created_at": rfc3339(silence.created_at),
        "created_by": silence.created_by,
        "until": rfc3339(silence.until),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _answer(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
