"""What every channel can do, and how it says that it could not."""

from typing import Protocol

from central_hub.monitoring.notification import Notification
from central_hub.monitoring.rules import ChannelType


class NotDelivered(Exception):
    """A notification did not arrive, or is not known to have. The reason is kept and logged, and must show no
    credential; without `retry` there is no use in another attempt, and with `after_seconds` none before that."""

    def __init__(self, reason: str, *, retry: bool = True, after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry
        self.after_seconds = after_seconds


class Channel(Protocol):
    """A way to tell somebody."""

    @property
    def type(self) -> ChannelType: ...

    async def send(self, notification: Notification) -> None:
        """Tell it. Returns when it was taken; raises NotDelivered."""
        ...
