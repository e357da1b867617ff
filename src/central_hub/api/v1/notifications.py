"""What was told of alerts and what was not: listed, and sent again.

A notification is shown to whoever may read all that it tells of: services, where the alert is about one, and otherwise
everybody. To send one again concerns the whole fleet.
"""

import re
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Response

from central_hub.api.auth import authorise_for_the_fleet, needs
from central_hub.api.v1.openapi import PROBLEMS
from central_hub.api.v1.openapi_alerts import NOTIFICATIONS, REDELIVERED
from central_hub.api.v1.queries import NoQuery, NotificationsQuery
from central_hub.audit.chain import rfc3339
from central_hub.errors import NotFound
from central_hub.monitoring import notification
from central_hub.security.tokens import Grant, Verb
from central_hub.service import CentralHubService
from central_hub.storage.notification_values import Notification

Reader = Annotated[Grant, Depends(needs(Verb.READ))]
Writer = Annotated[Grant, Depends(needs(Verb.WRITE))]


def routes(hub: CentralHubService) -> APIRouter:
    """Every route under `/alerts/notifications`."""
    router = APIRouter(prefix="/alerts/notifications", tags=["alerts"], responses=PROBLEMS)

    @router.get("", responses=NOTIFICATIONS)
    async def listed(grant: Reader, query: Annotated[NotificationsQuery, Query()]) -> Response:
        """Notifications in a state, the newest first.

        One that is `due` is tried until it is `sent` or, after about a day, `dead`; these are kept for 30 days.
        """
        found = await hub.notifier.listed(query.state, limit=query.limit)
        return _answer({"notifications": [_described(one) for one in found if _covers(grant, one)]})

    @router.post("/{notification_id}/redeliver", status_code=202, responses=REDELIVERED)
    async def redeliver(grant: Writer, notification_id: str, _: Annotated[NoQuery, Query()]) -> Response:
        """Send one that was given up again, with the same id, as often as if it were new. Needs a token for every
        service and environment."""
        found = await hub.notifier.find(notification_id) if _is_id(notification_id) else None
        if found is None or not _covers(grant, found):
            raise NotFound("there is no such notification")
        authorise_for_the_fleet(grant)
        return _answer(_described(await hub.notifier.redeliver(notification_id)), 202)

    return router


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{1,64}", text) is not None


def _covers(grant: Grant, stored: Notification) -> bool:
    """What is not about a service names those whom it hits, which may be anybody's."""
    return grant.covers_everything or all(
        grant.covers(alert.subject, alert.environment) if alert.environment else not alert.affected
        for alert in _alerts(stored)
    )


def _alerts(stored: Notification) -> tuple[notification.ToldAlert, ...]:
    try:
        return notification.read(stored.payload).alerts
    except ValueError:  # another version of the hub has composed it
        return ()


def _described(stored: Notification) -> dict[str, Any]:
    return {
        "id": stored.id,
        "channel": stored.channel,
        "state": stored.state,
        "attempts": stored.attempts,
        "error": stored.error,
        "created_at": rfc3339(stored.created_at),
        "due_at": rfc3339(stored.due_at),
        "ended_at": None if stored.ended_at is None else rfc3339(stored.ended_at),
        "alerts": [
            {
                "id": alert.id,
                "rule": alert.rule,
                "severity": alert.severity,
                "subject": alert.subject,
                "environment": alert.environment or None,
            }
            for alert in _alerts(stored)
        ],
    }


def _answer(value: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
