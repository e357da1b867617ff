"""Follows the hub's stream of instances: one for all lists that the hub lets us read."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from central_hub_client.backoff import Backoff
from central_hub_client.errors import CentralHubError, HubUnreachable, InvalidAnswer
from central_hub_client.followed_list import FollowedList
from central_hub_client.hub_api import INSTANCES_ON_A_PAGE, MAX_PAGES, SILENCE_SECONDS, HubApi
from central_hub_client.instance_events import Changed, Complete, Everything, Gone, InstanceEvent
from central_hub_client.service_instance import ServiceInstance

logger = logging.getLogger("central_hub_client")

GATHER_SECONDS: Final = 0.3
"""Lists that are first asked for at the same time share a stream from the start."""
RESTART_SECONDS: Final = 5.0
NO_STREAM_SECONDS: Final = 300.0
"""How soon a hub that has no such stream is asked for it again: it may be another version by then."""
NO_STREAM: Final = frozenset({404, 405, 422})
"""How a hub that knows nothing of the stream answers: to an older one `watch` is a service's name that cannot be."""
MAX_SERVICES: Final = 100
"""In one stream; the addresses of servers end somewhere. Lists beyond go on being asked for."""
MAX_INSTANCES: Final = INSTANCES_ON_A_PAGE * MAX_PAGES


class DirectoryStream:
    """Carries lists for as long as it lasts. `followed` may grow meanwhile."""

    def __init__(self, api: HubApi, followed: Sequence[FollowedList]) -> None:
        self._api = api
        self._followed = followed
        self._answered = asyncio.Event()

    def answered(self) -> None:
        """The hub has answered a question about one of the lists."""
        self._answered.set()

    async def run(self) -> None:
        """Follow for ever. What ends, or is silent, is opened anew once the hub has answered a question again."""
        backoff = Backoff()
        while True:
            await self._answered.wait()
            await asyncio.sleep(GATHER_SECONDS)
            since = time.monotonic()
            pause = 0.0
            try:
                while readable := self._readable():
                    await self._follow(readable)
            except CentralHubError as error:
                logger.info("the stream of instances broke: code=%s: %s", error.code, error)
                has_none = error.status in NO_STREAM
                pause = NO_STREAM_SECONDS if has_none else max(backoff.next(), error.retry_after_seconds or 0.0)
            except Exception:  # the top of a background loop: lists are asked for as long as there is no stream
                logger.exception("the stream of instances was not followed")
                pause = RESTART_SECONDS
            self._answered.clear()
            for followed in self._followed:
                followed.lose()
            if time.monotonic() - since > SILENCE_SECONDS:
                backoff.reset()
            await asyncio.sleep(pause)

    def _readable(self) -> dict[str, FollowedList]:
        """The lists that the hub lets us read; none of the others is carried any more."""
        answered = sorted(each.held.service for each in self._followed if each.answered.is_set())[:MAX_SERVICES]
        for followed in self._followed:
            if followed.held.service not in answered:
                followed.lose()
        return {each.held.service: each for each in self._followed if each.held.service in answered}

    async def _follow(self, followed: Mapping[str, FollowedList]) -> None:
        """Follow those, and return when there are more to follow. Raises CentralHubError."""
        [environment] = {each.held.environment for each in followed.values()}
        lists = _Lists(followed.keys(), environment)
        complete_at = time.monotonic()
        async with contextlib.aclosing(self._api.watch_instances(list(followed), environment)) as events:
            async for event in events:
                if isinstance(event, Complete):
                    complete_at = time.monotonic()
                    for service, instances in lists.told():
                        followed[service].take(instances)
                        followed[service].carry()
                    if self._readable().keys() != followed.keys():
                        return
                elif time.monotonic() - complete_at > SILENCE_SECONDS:
                    raise HubUnreachable(f"the stream of instances had no bookmark for {SILENCE_SECONDS:g} s")
                else:
                    lists.take(event)


class _Lists:
    """What a stream has told so far, by service."""

    def __init__(self, services: Iterable[str], environment: str) -> None:
        self._services = frozenset(services)
        self._environment = environment
        self._by_name: dict[str, dict[str, ServiceInstance]] = {}
        self._told: dict[str, tuple[ServiceInstance, ...]] = {}

    def take(self, event: InstanceEvent) -> None:
        """Raises InvalidAnswer."""
        match event:
            case Everything() if self._is_ours(event):
                self._by_name[event.service] = {each.instance_id: each for each in event.instances}
                self._told.pop(event.service, None)
            case Changed(instance) if self._is_ours(instance) and instance.service in self._by_name:
                self._by_name[instance.service][instance.instance_id] = instance
                self._told.pop(instance.service, None)
            case Gone(service, _, name) if self._is_ours(event) and service in self._by_name:
                self._by_name[service].pop(name, None)
                self._told.pop(service, None)
        if any(len(instances) > MAX_INSTANCES for instances in self._by_name.values()):
            raise InvalidAnswer(f"the stream tells of more than {MAX_INSTANCES} instances of a service")

    def told(self) -> Iterable[tuple[str, tuple[ServiceInstance, ...]]]:
        """The lists as they are now, each in the order in which the hub lists instances."""
        for service, instances in self._by_name.items():
            if service not in self._told:
                self._told[service] = tuple(instances[name] for name in sorted(instances))
        return self._told.items()

    def _is_ours(self, told: Everything | Gone | ServiceInstance) -> bool:
        return told.service in self._services and told.environment == self._environment
