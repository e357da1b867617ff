"""Push: the hub's event stream by default, NATS where asked for. Polling (`refresh.py`) is the net under both.

The only module of the client that knows NATS, and it loads `nats` with the first connection.
"""

import asyncio
import contextlib
import logging
import time

from central_hub_client.acceptance import Heard, Verdict
from central_hub_client.errors import CentralHubError, HistoryGone
from central_hub_client.held_config import HeldConfig
from central_hub_client.hub_api import HubApi
from central_hub_client.refresh import Backoff, Refresher
from central_hub_client.wire import Bookmark, ConfigObject

logger = logging.getLogger("central_hub_client")


async def follow_events(held: HeldConfig, api: HubApi, refresher: Refresher) -> None:
    """Follow the hub's event stream for ever: whenever it breaks, ask first, then resume where it broke."""
    backoff = Backoff()
    while True:
        await refresher.reachable.wait()
        try:
            async with contextlib.aclosing(api.watch(held.service, held.environment, after=held.verified)) as events:
                async for event in events:
                    backoff.reset()
                    if not _take_event(held, refresher, event):
                        break
        except HistoryGone as error:
            logger.warning("the event stream cannot be resumed, starting anew: service=%s: %s", held.service, error)
            held.forget_verified()
        except CentralHubError as error:
            logger.info("the event stream broke: service=%s code=%s: %s", held.service, error.code, error)
        refresher.check()
        await asyncio.sleep(backoff.next())


def _take_event(held: HeldConfig, refresher: Refresher, event: ConfigObject | Bookmark) -> bool:
    """False where the stream tells another history than the one followed: it must be opened again from its start."""
    if isinstance(event, Bookmark):
        if held.take_event_bookmark(event, time.time()) is Heard.OTHER_HISTORY:
            held.forget_verified()
            return False
    elif held.take_event(event, time.time()).verdict is Verdict.FETCH:
        refresher.want(event.position)
    return True
