"""Tells of alerts on the bus, on `alerts.{severity}`, signed as the hub's other announcements are."""

from central_hub.connections.bus import Bus
from central_hub.monitoring.channels.channel import NotDelivered
from central_hub.monitoring.notification import Notification
from central_hub.monitoring.rules import ChannelType
from central_hub.security.signing import Signer
from central_hub_client.wire import MAX_PUSHED_BYTES, alerts_subject


class NatsChannel:
    """Who listens at that moment hears it; the bus does not keep it."""

    type = ChannelType.NATS

    def __init__(self, bus: Bus | None, signer: Signer) -> None:
        """`bus` is None where none is configured."""
        self._bus = bus
        self._signer = signer

    async def send(self, notification: Notification) -> None:
        if self._bus is None:
            raise NotDelivered("no NATS is configured: CENTRAL_HUB_NATS_URL is not set")
        payload = notification.payload.encode()
        if len(payload) > MAX_PUSHED_BYTES:
            raise NotDelivered(f"it is larger than {MAX_PUSHED_BYTES} bytes", retry=False)
        subject = alerts_subject(notification.severity)
        if not await self._bus.publish_taken(subject, payload, self._signer.headers(payload)):
            raise NotDelivered("NATS did not take it")
