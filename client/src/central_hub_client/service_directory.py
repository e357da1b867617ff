"""ServiceDirectory: which instance of another service to call, without asking anybody at the time of the call."""

import atexit
import concurrent.futures.thread  # noqa: F401 - so that its hook for forks comes before ours, as in keeper.py
import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final, Self
from weakref import WeakSet

from central_hub_client import client_settings
from central_hub_client.background import Background
from central_hub_client.blocking import run_blocking, wait_for_future
from central_hub_client.config_client import START_SECONDS
from central_hub_client.directory_feed import FRESH_SECONDS, DirectoryFeed
from central_hub_client.errors import NoInstance
from central_hub_client.held_instances import DirectoryStatus, HeldInstances
from central_hub_client.routing.policy import Choice, NothingToCall, Policy
from central_hub_client.service_instance import ServiceInstance
from central_hub_client.wire import is_service_name

logger = logging.getLogger("central_hub_client")

CHILD_START_SECONDS: Final = 2.0


class ServiceDirectory:
    """Knows the instances of the services it is told of, and picks one for each call: in memory, in microseconds.

    Constructing it does no I/O; `start` reads what was last known from disk, asks the hub within its deadline, and goes
    on listening in a daemon thread of its own, in scripts, forked workers and event loops alike. With the hub dead
    it goes on with what was last known, and `status` says so. What is not given as an argument comes from the
    environment, as with `ConfigClient`. The token wants the verb `read` for the services called. Only a service name
    that can never be right raises ValueError.

    `zone` is where this process is, for the policy `same_zone`. Everything may be called from any thread.
    """

    def __init__(
        self,
        *services: str,
        central_hub_url: str | None = None,
        token: str | None = None,
        environment: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        instance_id: str | None = None,
        zone: str | None = None,
    ) -> None:
        self.zone = zone
        self._settings = client_settings.resolve(
            hub_url=central_hub_url,
            token=token,
            environment=environment,
            nats_url=None,
            enable_nats=False,
            cache_dir=cache_dir,
            instance_id=instance_id,
        )
        self._held: dict[str, HeldInstances] = {}
        self._feed: DirectoryFeed | None = None
        self._background: Background | None = None
        self._started: Future[None] = Future()
        self._changing = threading.Lock()
        for service in services:
            self.follow(service)
        _directories.add(self)

    def __repr__(self) -> str:
        return f"ServiceDirectory({', '.join(map(repr, self._held))}, environment={self.environment!r})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await self.start_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_async()

    @property
    def environment(self) -> str:
        return self._settings.environment

    @property
    def services(self) -> tuple[str, ...]:
        """Those that are followed."""
        return tuple(self._held)

    def follow(self, service: str) -> None:
        """Know the instances of one more service: from the start on, or, where it has started, soon."""
        if not is_service_name(service):
            raise ValueError(f"{service[:100]!r} cannot name a service: use a-z, 0-9 and -, and no reserved word")
        with self._changing:
            if service in self._held:
                return
            held = HeldInstances(service, self.environment, random.random, fresh_seconds=FRESH_SECONDS)
            self._held[service] = held
            feed, background = self._feed, self._background
        if feed is not None and background is not None:
            background.call(lambda: feed.follow(held))

    def start(self, deadline: float = START_SECONDS) -> None:
        """Start, and wait until the hub was asked for every service, for `deadline` seconds at most; errors end the
        wait at once, and are never raised.

        It blocks: inside an event loop use `async with`, or `start_async`. Calling it again does nothing; after `stop`
        it starts anew.
        """
        with suppress(TimeoutError):
            self._begin(deadline).result(deadline)

    async def start_async(self, deadline: float = START_SECONDS) -> None:
        """`start` without blocking the event loop."""
        await wait_for_future(self._begin(deadline), deadline)

    def stop(self) -> None:
        """Stop asking; what is known stays. Waits for the thread to end, a few seconds at most."""
        with self._changing:
            background, self._background, self._feed = self._background, None, None
        if background is not None:
            background.stop()
            background.join()

    async def stop_async(self) -> None:
        """`stop` without blocking the event loop."""
        await run_blocking(self.stop)

    def pick(
        self,
        service: str,
        policy: Policy | str = Policy.ROUND_ROBIN,
        *,
        key: str | None = None,
        zone: str | None = None,
    ) -> Choice[ServiceInstance]:
        """The instance to call now, and in what it falls short of what was asked for. Asks nobody.

        `consistent_hash` needs a `key`; `same_zone` goes by `zone`, else by that of this directory. Raises NoInstance
        where there is none to call, and ValueError for a service that is not followed and for a wrong policy.
        """
        held = self._of(service)
        if zone is None and policy == Policy.SAME_ZONE:
            zone = self.zone
        try:
            return held.balancer.pick(Policy(policy), key=key, zone=zone)
        except NothingToCall as error:
            raise self._nobody(held, error) from None

    @contextmanager
    def calling(
        self, service: str, policy: Policy | str = Policy.RANDOM, *, key: str | None = None, zone: str | None = None
    ) -> Iterator[Choice[ServiceInstance]]:
        """`pick`, for a call that is under way within the block: `random` prefers those with fewer of them."""
        choice = self.pick(service, policy, key=key, zone=zone)
        with self._of(service).counting(choice.instance.instance_id):
            yield choice

    def instances(self, service: str) -> tuple[ServiceInstance, ...]:
        """All that are known of a service, however they are. Raises ValueError for one that is not followed."""
        return self._of(service).instances

    def status(self, service: str) -> DirectoryStatus:
        """How fresh that is. Raises ValueError for a service that is not followed."""
        return self._of(service).status(time.monotonic())

    def go_on_in_child(self) -> None:
        """In a forked process: go on with a thread and a connection of its own, from what the parent had."""
        self._changing = threading.Lock()
        background, self._background, self._feed = self._background, None, None
        for held in self._held.values():
            held.after_fork()
        if background is not None:
            background.abandon()
            self._begin(CHILD_START_SECONDS)

    def _begin(self, deadline_seconds: float) -> Future[None]:
        """Start, unless it runs; done once the hub was asked."""
        with self._changing:
            if self._background is None:
                started: Future[None] = Future()
                self._started = started

                def ready() -> None:
                    if not started.done():  # it is told once more at the end
                        started.set_result(None)

                self._feed = DirectoryFeed(self._settings, self._held.values())
                self._background = Background(self._feed, deadline_seconds, ready)
                self._background.start()
            return self._started

    def _of(self, service: str) -> HeldInstances:
        try:
            return self._held[service]
        except KeyError:
            raise ValueError(f"{service[:100]!r} is not followed: name it to the directory, or `follow` it") from None

    def _nobody(self, held: HeldInstances, error: NothingToCall) -> NoInstance:
        about = f"no instance of {held.service} in environment {held.environment} can be called"
        if held.is_known:
            return NoInstance(f"{about}: {error}")
        failure = held.error
        return NoInstance(f"{about}: nothing is known of it: {failure or 'the hub has not answered yet'}")


_directories: WeakSet[ServiceDirectory] = WeakSet()


def _go_on_in_child() -> None:
    for directory in list(_directories):
        try:
            directory.go_on_in_child()
        except Exception:
            logger.exception("the directory does not go on in this process")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on_in_child)


def _end_with_the_interpreter() -> None:
    """A thread that is stopped where it stands could not close what it has open."""
    for directory in list(_directories):
        directory.stop()


atexit.register(_end_with_the_interpreter)
