"""Tells of alerts by a POST that is signed as the Standard Webhooks specification has it."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from central_hub.connections.webhook_post import NotPosted, WebhookPost
from central_hub.monitoring.channels.channel import NotDelivered
from central_hub.monitoring.channels.webhook_options import webhook_options
from central_hub.monitoring.channels.webhook_signature import signed_headers
from central_hub.monitoring.notification import Notification
from central_hub.monitoring.rules import ChannelType

_GONE: Final = 410
_ASK_FOR_TIME: Final = (429, 503)


class WebhookChannel:
    """Its secret is looked up for each attempt, and kept nowhere."""

    type = ChannelType.WEBHOOK

    def __init__(
        self, options: Mapping[str, Any], reveal: Callable[[Mapping[str, Any]], Mapping[str, Any]], post: WebhookPost
    ) -> None:
        self._options = options
        self._reveal = reveal
        self._post = post

    async def send(self, notification: Notification) -> None:
        body = notification.payload.encode()
        try:
            options = webhook_options(self._reveal(self._options))
            signed = signed_headers(notification.id, int(time.time()), body, options.secrets)
        except ValueError as error:
            raise NotDelivered(f"not sent: {error}") from None
        headers = {"Content-Type": "application/json", **signed}
        try:
            answered = await self._post.post(
                options.target, body, headers, allow_private=options.allow_private, ca_file=options.ca_file
            )
        except NotPosted as error:
            raise NotDelivered(str(error)) from error
        status = answered.status
        if 200 <= status < 300:
            return
        said = f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
        after_seconds = _seconds(answered.retry_after) if status in _ASK_FOR_TIME else None
        raise NotDelivered(said, retry=status != _GONE, after_seconds=after_seconds)


def _seconds(retry_after: str | None) -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date. None for whatever else is said."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    return (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
