"""The keys that messages on the bus are held against: pinned ones, or those that the hub itself named."""

import logging
import time
from collections.abc import Mapping

from central_hub_client.blocking import run_blocking
from central_hub_client.client_settings import ClientSettings
from central_hub_client.errors import CentralHubError
from central_hub_client.hub_api import HubApi
from central_hub_client.last_known_good import LastKnownGood
from central_hub_client.trust import is_signed

logger = logging.getLogger("central_hub_client")


class KeyRing:
    """Where keys are pinned, no others count. Else they are learnt over a channel that proves who speaks (TLS, or
    loopback), and remembered for a start with the hub dead."""

    def __init__(self, settings: ClientSettings, api: HubApi, files: LastKnownGood) -> None:
        self._hub_url = settings.hub_url
        self._may_learn = not settings.trusted_keys and settings.is_channel_authentic
        self._api = api
        self._files = files
        self._learnt_at = float("-inf")
        self.keys = settings.trusted_keys

    def trusts(self, payload: bytes, headers: Mapping[str, str] | None) -> bool:
        """Whether one of the keys signed exactly this payload."""
        return is_signed(payload, headers, self.keys)

    async def recall(self) -> None:
        """Take up the keys that an earlier run learnt."""
        if self._may_learn and not self.keys and self._hub_url is not None:
            self.keys = await run_blocking(self._files.load_keys, self._hub_url)

    async def learn(self, *, unless_within_seconds: float = 0.0) -> None:
        """Ask the hub which keys its live replicas sign with; keep the old ones if it does not answer."""
        is_recent = time.monotonic() - self._learnt_at < unless_within_seconds
        if is_recent or not self._may_learn or self._hub_url is None:
            return
        self._learnt_at = time.monotonic()
        try:
            keys = await self._api.fetch_keys()
        except CentralHubError as error:
            logger.info("the signing keys could not be read: code=%s: %s", error.code, error)
            return
        if keys and keys != self.keys:
            self.keys = keys
            await run_blocking(self._files.save_keys, self._hub_url, keys)
