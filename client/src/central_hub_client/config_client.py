"""ConfigClient: always has a configuration, and says how fresh it is."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Self

from central_hub_client import client_settings, layers, seed
from central_hub_client.blocking import run_blocking
from central_hub_client.change import Callback, Listener
from central_hub_client.crash_record import CrashRecord
from central_hub_client.held_config import Counts, HeldConfig, Status
from central_hub_client.hub_api import HubApi
from central_hub_client.key_ring import KeyRing
from central_hub_client.last_known_good import LastKnownGood, Remembered
from central_hub_client.refresh import Refresher
from central_hub_client.registration import InstanceDescription, Registration
from central_hub_client.report import InstanceReport
from central_hub_client.updates import Bus, follow_events
from central_hub_client.wire import ConfigObject, is_service_name

logger = logging.getLogger("central_hub_client")

START_SECONDS: Final = 2.0
DISK_SECONDS: Final = 1.0
RESTART_SECONDS: Final = 5.0
END_SECONDS: Final = 1.0
END_ATTEMPTS: Final = 5


class ConfigClient:
    """The configuration of one service, kept current in the background of the caller's event loop.

    Constructing it does no I/O; `init_async` starts it and never raises for a hub that cannot be reached: the service
    then runs on what it last knew, on a seed, or on `safe_defaults`, and `status` says so. What is not given as an
    argument comes from the environment (`CENTRAL_HUB_URL`, `…_TOKEN`, `…_NATS_URL`, `…_ENVIRONMENT`, `…_CACHE_DIR`,
    `…_TRUSTED_KEYS`, `…_SEED_FILE`); a wrong setting is left out and logged. Only a service name that can never be
    right raises ValueError.

    Use it from one event loop; it is not safe to share between threads.
    """

    def __init__(
        self,
        service_name: str,
        central_hub_url: str | None = None,
        *,
        safe_defaults: Mapping[str, Any] | None = None,
        cache_ttl_seconds: float = 300,
        enable_nats_updates: bool = False,
        nats_url: str | None = None,
        token: str | None = None,
        environment: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        instance_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        if not is_service_name(service_name):
            raise ValueError(f"{service_name[:100]!r} cannot name a service: use a-z, 0-9 and -, and no reserved word")
        self.service_name = service_name
        self.labels = dict(labels or {})
        self.safe_defaults = layers.merge([safe_defaults or {}])
        self._arguments: dict[str, Any] = {
            "central_hub_url": central_hub_url,
            "safe_defaults": self.safe_defaults,
            "cache_ttl_seconds": cache_ttl_seconds,
            "enable_nats_updates": enable_nats_updates,
            "nats_url": nats_url,
            "token": token,
            "environment": environment,
            "cache_dir": cache_dir,
            "instance_id": instance_id,
            "labels": labels,
        }
        settings = client_settings.resolve(
            hub_url=central_hub_url,
            token=token,
            environment=environment,
            nats_url=nats_url,
            enable_nats=enable_nats_updates,
            cache_dir=cache_dir,
            instance_id=instance_id,
        )
        self._settings = settings
        self._poll_seconds = max(1.0, cache_ttl_seconds)
        self._listeners: dict[Listener, asyncio.Task[None] | None] = {}
        self._unsaved = asyncio.Event()
        self._held = HeldConfig(
            service_name,
            settings.environment,
            self.safe_defaults,
            fresh_seconds=self._poll_seconds,
            on_change=self._spread,
        )
        self._files = LastKnownGood(settings.cache_dir, service_name, settings.environment, settings.instance_id)
        self._build: str | None = None
        self.crashes = CrashRecord()
        """How the last runs of this instance ended; empty unless `watch_for_crashes` was called before the start."""
        self._api = HubApi(settings)
        self._keys = KeyRing(settings, self._api, self._files)
        self._refresher = Refresher(self._held, self._api, self._keys, poll_seconds=self._poll_seconds)
        servers = settings.nats_servers
        self._bus = Bus(servers, self._held, self._refresher, self._keys) if servers else None
        self._starting = asyncio.Lock()
        self._prepared = asyncio.Event()
        self._was_started = False
        self._supervisor: Callable[[ConfigObject], None] | None = None
        self._is_usable: Callable[[ConfigObject], bool] = lambda _: True
        self._approved: ConfigObject | None = None
        self._report: Callable[[], InstanceReport] | None = None
        self._description = InstanceDescription()
        self._registration: Registration | None = None
        self._is_forked = False
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"ConfigClient({self.service_name!r}, {self._settings.hub_url!r}, environment={self.environment!r})"

    async def __aenter__(self) -> Self:
        await self.init_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    @property
    def environment(self) -> str:
        return self._settings.environment

    @property
    def instance_id(self) -> str:
        """As given, else the host's name: stable across restarts, and numbered where a host runs several.

        A forked process is another instance: what was given is then numbered too.
        """
        given, slot = self._settings.instance_id, self._files.slot
        if given is not None and not self._is_forked:
            return given
        name = given or socket.gethostname().encode("ascii", "replace").decode() or "unnamed"
        if slot == 0:
            return f"{name}-{os.getpid()}"
        return name if slot == 1 and given is None else f"{name}-{slot}"

    @property
    def has_hub(self) -> bool:
        """Whether a hub's URL is known."""
        return self._settings.hub_url is not None

    @property
    def problems(self) -> tuple[str, ...]:
        """The settings that are left out because they cannot be right."""
        return tuple(problem for problem in self._settings.problems if problem != client_settings.NO_HUB)

    @property
    def was_started(self) -> bool:
        return self._was_started

    @property
    def object(self) -> ConfigObject | None:
        """The hub's object that is held, None if there is none."""
        return self._held.object

    @property
    def counts(self) -> Counts:
        """What happened so far, for metrics."""
        return self._held.counts

    @property
    def status(self) -> Status:
        """Where the configuration in use came from, and how fresh it is."""
        return self._held.status(time.monotonic())

    async def init_async(self, deadline_seconds: float = START_SECONDS) -> None:
        """Start: what was last known first, then the hub, then updates in the background.

        Returns as soon as the hub has answered or refused, and after `deadline_seconds` whatever happens; a slow answer
        is still taken when it comes. Calling it again does nothing, and a client that was shut down stays so.
        """
        async with self._starting:
            if self._was_started:
                return
            self._was_started = True
            for problem in self._settings.problems:
                logger.error("a setting is left out: service=%s: %s", self.service_name, problem)
            works = (self._prepare, self._ask, self._follow_events, self._follow_bus, self._register, self._keep_saving)
            self._tasks = [self._background(work) for work in works]
            for listener in self._listeners:
                self._listeners[listener] = self._background(listener.run)
            try:
                async with asyncio.timeout(deadline_seconds):
                    await self._refresher.attempted.wait()
                    if self._bus is not None and self._held.object is None and not self._refresher.reachable.is_set():
                        await self._bus.looked.wait()
            except TimeoutError:
                logger.warning("the hub has not answered within %g s: service=%s", deadline_seconds, self.service_name)
            await self._plant_seed()

    async def shutdown(self) -> None:
        """Stop updating. What was last known stays readable, here and on disk."""
        self._was_started = True
        tasks = [*self._tasks, *filter(None, self._listeners.values())]
        self._tasks = []
        await self._end({task for task in tasks if task is not asyncio.current_task()})  # a listener may be the caller
        await self._save()
        if self._registration is not None:
            await self._registration.stop()
        await self._api.close()
        await run_blocking(self._files.close)

    async def get_config(self, force_refresh: bool = False) -> dict[str, Any]:
        """The hub's configuration over the safe defaults, as a dict of the caller's own.

        `force_refresh` asks the hub first, for ten seconds at most; where that fails the dict is what is held, and
        `status` says why.
        """
        await self.init_async()
        if force_refresh and self._tasks:
            await self._refresher.ask()
        return layers.merge([self._held.merged])

    def get_value(self, path: str, default: Any = None) -> Any:
        """The value at a dotted path such as `operational.batch_size`, or `default` if there is none (null is one)."""
        value: Any = self._held.merged
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return default
            value = value[key]
        return layers.merge([{"value": value}])["value"]

    def on_config_update(self, callback: Callback) -> Callable[[], None]:
        """Call `callback` with every later change; returns what ends that.

        A callback may be a plain or an async function, runs on the event loop, one call at a time, and what it
        raises is logged.
        """
        listener = Listener(callback, self._held.merged)
        self._listeners[listener] = self._background(listener.run) if self._tasks else None

        def stop_listening() -> None:
            task = self._listeners.pop(listener, None)
            listener.stop()
            if task is not None and task is not asyncio.current_task():
                task.cancel()

        return stop_listening

    def supervise(self, supervisor: Callable[[ConfigObject], None], is_usable: Callable[[ConfigObject], bool]) -> None:
        """Hand every object to `supervisor`, on the event loop, as it is taken. From now on only what `approve` is
        called with is remembered on disk: what the supervisor refuses must not be what the next start begins with.

        Of what was remembered, the start takes the first that `is_usable` says yes to, in a thread of its own.
        """
        self._supervisor, self._is_usable = supervisor, is_usable

    def approve(self, received: ConfigObject) -> None:
        """The supervisor uses this object. Call it on the event loop."""
        self._approved = received
        self._unsaved.set()

    def watch_for_crashes(self, build: str) -> None:
        """Once started, know how the last runs of this build ended. Call it before the start, in a process whose end
        in good order is told to `crashes`."""
        self._build = "/".join([self._description.version or "", self._description.build or "", build])

    def register(self, report: Callable[[], InstanceReport], description: InstanceDescription) -> None:
        """Once started, register this instance at the hub, and send what `report` says with every heartbeat, until
        `shutdown`. Call it before the start. The labels given to the client are added to those of the description."""
        self._report = report
        self._description = replace(description, labels={**self.labels, **description.labels})

    def report_soon(self) -> None:
        """The report has changed. Call it on the event loop."""
        if self._registration is not None:
            self._registration.report_soon()

    @property
    def is_drained(self) -> bool:
        """Whether an operator drains this instance, as the hub said with the last heartbeat. From any thread."""
        return self._registration is not None and self._registration.is_drained

    def fresh_copy(self, *, is_forked: bool = False) -> "ConfigClient":
        """A client like this one, not started, that begins with what this one holds: for a forked process, whose
        threads and connections are its parent's, and for another start after `shutdown`."""
        copy = ConfigClient(self.service_name, **self._arguments)
        copy._held.inherit(self._held)
        copy._report, copy._description = self._report, self._description
        copy._is_forked = self._is_forked or is_forked
        return copy

    def let_go(self) -> None:
        """In a forked process: drop what is shared with the parent, and tell nobody."""
        self._files.let_go()

    def _background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        async def keep_running() -> None:
            while True:
                try:
                    return await work()
                except Exception:  # a bug here must cost one kind of update for a moment, not all of them for ever
                    logger.exception("background work failed and starts again: service=%s", self.service_name)
                    await asyncio.sleep(RESTART_SECONDS)

        return asyncio.get_running_loop().create_task(keep_running(), name=f"central-hub {self.service_name}")

    async def _end(self, tasks: set[asyncio.Task[None]]) -> None:
        # More than once: before Python 3.12, `asyncio.wait_for` (which the NATS client uses) loses a cancellation that
        # comes at the very moment of its result.
        for _ in range(END_ATTEMPTS):
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=END_SECONDS)
        logger.error("background work does not end: service=%s tasks=%d", self.service_name, len(tasks))

    async def _prepare(self) -> None:
        restoring = asyncio.create_task(self._restore())
        self._tasks.append(restoring)
        await asyncio.wait({restoring}, timeout=DISK_SECONDS)  # a disk that hangs must not keep us from asking
        await run_blocking(self._api.open, self.instance_id)
        self._prepared.set()

    async def _ask(self) -> None:
        await self._prepared.wait()
        await self._refresher.run()

    async def _follow_events(self) -> None:
        await follow_events(self._held, self._api, self._refresher, self._bus)

    async def _follow_bus(self) -> None:
        if self._bus is not None:
            await self._prepared.wait()
            await self._keys.recall()
            await self._bus.run()

    async def _register(self) -> None:
        if self._report is None or not self.has_hub:
            return
        # After the configuration was asked for, which the service waits for; and only now it is known who this is.
        await self._prepared.wait()
        await self._refresher.attempted.wait()
        self._registration = Registration(
            self._api,
            self.service_name,
            self.environment,
            self.instance_id,
            self._report,
            description=self._description,
        )
        self._registration.start()

    async def _restore(self) -> None:
        remembered = await run_blocking(self._open_files)
        if remembered is not None:
            self._held.restore(remembered, time.monotonic(), wall=time.time())

    def _open_files(self) -> Remembered | None:
        self._files.open()
        if self._build is not None and self._files.directory is not None:
            self.crashes.open(self._files.directory, self._build)
        return next((found for found in self._files.candidates() if self._is_usable(found.object)), None)

    async def _plant_seed(self) -> None:
        path = self._settings.seed_file
        if path is None or self._held.object is not None:
            return
        try:
            found = await run_blocking(seed.read, path, self.service_name, self.environment)
        except (OSError, ValueError) as error:
            logger.warning("the seed is not used: service=%s: %s", self.service_name, error)
            return
        if found is not None:
            self._held.plant(found)

    async def _keep_saving(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._unsaved.wait()
            await self._save()

    async def _save(self) -> None:
        self._unsaved.clear()
        remembered = self._held.to_remember(time.monotonic(), wall=time.time())
        if remembered is not None and (self._supervisor is None or remembered.object is self._approved):
            await run_blocking(self._files.save, remembered)

    def _spread(self, merged: dict[str, Any]) -> None:
        self._unsaved.set()
        if self._supervisor is not None and self._held.object is not None:
            self._supervisor(self._held.object)
        for listener in self._listeners:
            listener.tell(merged)
