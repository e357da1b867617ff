"""The channels by their names, as infrastructure.yaml has them at that moment; `log` and `nats` are always there."""

from collections.abc import Callable, Mapping
from typing import Any

from central_hub.connections.bus import Bus
from central_hub.connections.webhook_post import WebhookPost
from central_hub.monitoring.channels.apprise import AppriseChannel, AppriseThreads
from central_hub.monitoring.channels.channel import Channel
from central_hub.monitoring.channels.log import LogChannel
from central_hub.monitoring.channels.nats import NatsChannel
from central_hub.monitoring.channels.webhook import WebhookChannel
from central_hub.monitoring.rules import AlertSettings, ChannelSettings, ChannelType
from central_hub.security.signing import Signer

Reveal = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Puts credentials in the places of references. Raises ValueError, without a value in its message."""


class ChannelDirectory:
    """Channels are made when they are used: what is kept of one is not more than its settings."""

    def __init__(self, settings: Callable[[], AlertSettings], reveal: Reveal, bus: Bus | None, signer: Signer) -> None:
        self._settings = settings
        self._reveal = reveal
        self._post = WebhookPost()
        self._threads = AppriseThreads()
        self._log = LogChannel()
        self._nats = NatsChannel(bus, signer)

    def find(self, name: str) -> Channel | None:
        """The channel of that name."""
        settings = self._settings().channels.get(name)
        if settings is not None:
            return self._made(settings)
        always: dict[str, Channel] = {ChannelType.LOG: self._log, ChannelType.NATS: self._nats}
        return always.get(name)

    def _made(self, settings: ChannelSettings) -> Channel:
        match settings.type:
            case ChannelType.LOG:
                return self._log
            case ChannelType.NATS:
                return self._nats
            case ChannelType.WEBHOOK:
                return WebhookChannel(settings.options, self._reveal, self._post)
            case ChannelType.APPRISE:
                return AppriseChannel(settings.options, self._reveal, self._threads)
