"""Keeps a configuration current: one daemon thread that loads what has changed, assembles, and swaps.

The client (if any) runs in a second thread; what it hears wakes this one. Nobody who reads ever waits for either.
"""

import atexit
import concurrent.futures.thread  # noqa: F401 - so that its hook for forks comes before ours, see below
import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic
from weakref import WeakSet

from central_hub_client import orderly_end
from central_hub_client.assembly import HUB, Assembly, Rejection, Snapshot
from central_hub_client.background import Background
from central_hub_client.binding import Binding, Problem, Refused, S
from central_hub_client.config_client import ConfigClient
from central_hub_client.crash_record import REASON, WINDOW_SECONDS
from central_hub_client.installed import installed
from central_hub_client.secret_references import Secrets
from central_hub_client.sources import (
    CUSTOM_PRIORITY,
    HUB_PRIORITY,
    OVERRIDE_PRIORITY,
    SAFE_DEFAULTS_PRIORITY,
    ConfigSource,
    Loaded,
    environment,
)
from central_hub_client.watched_source import WatchedSource
from central_hub_client.wire import ConfigObject, content_hash

logger = logging.getLogger("central_hub_client")

DISK_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 1.0
CHILD_START_SECONDS: Final = 2.0
EXIT_SECONDS: Final = 1.0
OVERRIDE: Final = "override"
ENTRY_POINTS: Final = "central_hub_client.sources"


@dataclass(slots=True, eq=False)
class Run:
    """From a start to its end, in one process."""

    background: Background | None
    wake: threading.Event
    stopping: threading.Event = field(default_factory=threading.Event)
    client_is_ready: threading.Event = field(default_factory=threading.Event)
    started: "Future[None]" = field(default_factory=Future)
    """Once all was tried that can be tried by the deadline."""
    ended: "Future[None]" = field(default_factory=Future)
    has_looked: threading.Event = field(default_factory=threading.Event)
    """Once the other sources were read."""
    ends_in_good_order: bool = True


class Keeper(Generic[S]):
    """Everything of a manager that moves. `on_swap` is told each new snapshot, one at a time; `on_fork` is called in a
    forked process before it goes on."""

    def __init__(
        self,
        service: str,
        environment_name: str,
        binding: Binding[S],
        client: ConfigClient | None,
        sources: list[tuple[int, ConfigSource]],
        on_swap: Callable[[Snapshot[S]], None],
        on_fork: Callable[[], None],
    ) -> None:
        self.client = client
        self.snapshot: Snapshot[S] | None = None
        self.run: Run | None = None
        self._service = service
        self._environment_name = environment_name
        self._on_swap = on_swap
        self._on_fork = on_fork
        self._secrets = Secrets()
        self._binding = binding
        self._assembly = Assembly(binding, self._secrets)
        self._sources = [WatchedSource(priority, source) for priority, source in sources]
        self._received: ConfigObject | None = None
        self._taken: ConfigObject | None = None
        self._approved: ConfigObject | None = None
        self._has_news = False
        self._has_installed_sources = False
        self._overrides = 0
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        if client is not None and client.safe_defaults:
            self._assembly.offer("safe defaults", SAFE_DEFAULTS_PRIORITY, Loaded(client.safe_defaults))
        with self._lock:
            self._swap()
        _keepers.add(self)

    @property
    def is_running(self) -> bool:
        return self.run is not None and not self.run.stopping.is_set()

    @property
    def rejections(self) -> Mapping[str, Rejection]:
        return self._assembly.rejections

    @property
    def rejected(self) -> int:
        return self._assembly.rejected

    @property
    def offered(self) -> ConfigObject | None:
        """What the hub says, used or not."""
        return self._taken

    @property
    def incomplete(self) -> tuple[Problem, ...]:
        return self._assembly.incomplete

    @property
    def failures(self) -> dict[str, str]:
        """By source: why it cannot be read now."""
        return {watched.source.name: watched.failure for watched in self._sources if watched.failure is not None}

    def start(self, deadline_seconds: float) -> Run:
        """Start, unless it is running; does not wait."""
        with self._starting:
            if self.run is None or self.run.stopping.is_set():
                if self.client is not None and self.client.was_started:
                    self.client = self.client.fresh_copy()
                self.run = self._begin(deadline_seconds)
            return self.run

    def stop(self, *, in_good_order: bool = True) -> Run | None:
        """Begin to end; does not wait. Otherwise than in good order, it counts as a crash."""
        if self.run is not None:
            self.run.ends_in_good_order = in_good_order
            self.run.stopping.set()
            self.run.wake.set()
        return self.run

    def report_soon(self) -> None:
        """What the hub is told of this instance has changed."""
        if self.run is not None and self.run.background is not None and self.client is not None:
            self.run.background.call(self.client.report_soon)

    @property
    def is_drained(self) -> bool:
        """Whether an operator drains this instance."""
        return self.client is not None and self.client.is_drained

    def add(self, source: ConfigSource, priority: int) -> None:
        self._sources.append(WatchedSource(priority, source))
        if self.run is not None:
            self.run.wake.set()

    def override(self, values: Mapping[str, Any]) -> Callable[[], None]:
        """Put `values` above everything, until the function returned is called. Raises Refused, and then changes
        nothing."""
        with self._lock:
            self._overrides += 1
            name = f"{OVERRIDE} {self._overrides}"
            self._assembly.offer(name, OVERRIDE_PRIORITY + self._overrides, Loaded(values))
            if problems := self._problems_of_override(name):
                self._assembly.withdraw(name)
                self._swap()
                raise Refused(problems)

        def end() -> None:
            with self._lock:
                self._assembly.withdraw(name)
                self._swap()

        return end

    def go_on_in_child(self) -> None:
        """In a forked process: go on with threads and a connection of its own, from what the parent had."""
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._on_fork()
        run, is_running = self.run, self.is_running
        self.run = None
        if run is not None and run.background is not None and self.client is not None:
            run.background.abandon()
            fresh = self.client.fresh_copy(is_forked=True)
            self.client.let_go()
            self.client = fresh
        if is_running:
            self.run = self._begin(CHILD_START_SECONDS)

    def _begin(self, deadline_seconds: float) -> Run:
        self._assembly.offer_environment(environment.candidates(self._service, environment.variables()))
        self._has_news = True
        wake, is_ready = threading.Event(), threading.Event()
        background = None
        if self.client is None:
            is_ready.set()
        else:
            self._received, self._approved = self.client.object or self._received, None

            def receive(received: ConfigObject) -> None:
                self._received = received
                wake.set()

            def ready() -> None:
                is_ready.set()
                wake.set()

            self.client.supervise(receive, lambda remembered: self._takes(run, remembered))
            if orderly_end.listen(note_orderly_end):
                schema = self._binding.json_schema
                self.client.watch_for_crashes("" if schema is None else content_hash(schema))
            background = Background(self.client, deadline_seconds, ready)
        run = Run(background, wake, client_is_ready=is_ready)
        threading.Thread(target=self._keep, args=(run,), name="central-hub keeper", daemon=True).start()
        if background is not None:
            background.start()
        return run

    def _keep(self, run: Run) -> None:
        client = self.client
        while not run.stopping.is_set():
            is_ready = run.client_is_ready.is_set()  # before: what the client heard until then is part of this round
            try:
                self._look_around(run)
                pause = self._pause()
            except Exception:
                logger.exception("a round failed and is made again: service=%s", self._service)
                pause = CHECK_SECONDS
            run.has_looked.set()
            if is_ready and not run.started.done():
                run.started.set_result(None)
            run.wake.wait(pause)
            run.wake.clear()
        if client is not None:
            client.crashes.close(in_good_order=run.ends_in_good_order)
        if run.background is not None:
            run.background.stop()
            run.background.join()
        if not run.started.done():
            run.started.set_result(None)
        run.ended.set_result(None)

    def _pause(self) -> float | None:
        """Seconds until the next round, None for until there is news: an idle service is not woken for nothing."""
        if self._sources or self._secrets.are_in_use:
            return CHECK_SECONDS
        is_on_trial = self.client is not None and self.client.crashes.is_on_trial
        return WINDOW_SECONDS if is_on_trial else None

    def _look_around(self, run: Run) -> None:
        self._find_installed_sources()
        news = [(watched, watched.load()) for watched in self._sources]
        has_moved_on = self._secrets.have_moved_on()
        with self._lock:
            self._has_news |= has_moved_on
            for watched, loaded in news:
                if loaded is not None:
                    self._assembly.offer(watched.source.name, watched.priority, loaded)
                    self._has_news = True
            received = self._received
            if received is not None and received is not self._taken:
                self._offer(received)
            if self._has_news:
                self._swap()
                self._has_news = False
        self._approve(run)
        if self.client is not None:
            self._note_what_runs()  # once more, for when it was too early to be written down
            self.client.crashes.settle()

    def _problems_of_override(self, name: str) -> list[Problem]:
        """Swap it in, unless something is wrong with it."""
        offered = self._assembly.offered(name)
        if offered is not None and offered.unknown:  # it would be dropped without a word, and is a slip of the pen
            return [Problem(path, "the model does not declare it") for path in offered.unknown]
        self._swap()
        if self._assembly.accepted(name) is not None:
            return []
        rejection = self._assembly.rejections.get(name)
        return [Problem((), rejection.reason if rejection else "the configuration is incomplete")]

    def _offer(self, received: ConfigObject) -> None:
        ban = REASON if self.client is not None and self.client.crashes.is_quarantined(received) else None
        self._assembly.offer(HUB, HUB_PRIORITY, Loaded(received.config or {}), received, ban=ban)
        self._taken, self._has_news = received, True

    def _takes(self, run: Run, remembered: ConfigObject) -> bool:
        """Whether what an earlier run left can be used; it then is. Called while the client starts."""
        run.has_looked.wait(DISK_SECONDS)  # what the model wants may be in a file
        with self._lock:
            if self._received is not None:
                return True  # and something better is known already
            self._offer(remembered)
            self._swap()
            if HUB not in self._assembly.rejections:
                return True
            self._assembly.withdraw(HUB)
            self._taken = None
            return False

    def _swap(self) -> None:
        """The lock is held."""
        snapshot = self._assembly.assemble()
        if snapshot is not None:
            self._note_what_runs()
            self.snapshot = snapshot
            self._on_swap(snapshot)
        self.report_soon()

    @property
    def _accepted(self) -> ConfigObject | None:
        """Of what the hub says, what is used."""
        layer = self._assembly.accepted(HUB)
        return None if layer is None else layer.object

    def _note_what_runs(self) -> None:
        if self.client is not None and (accepted := self._accepted) is not None:
            self.client.crashes.running_on(accepted)

    def _approve(self, run: Run) -> None:
        accepted, client = self._accepted, self.client
        if (
            accepted is not None
            and accepted is not self._approved
            and client is not None
            and run.background is not None
        ):
            self._approved = accepted
            run.background.call(lambda: client.approve(accepted))

    def _find_installed_sources(self) -> None:
        if self._has_installed_sources:
            return
        self._has_installed_sources = True
        for found in installed(ENTRY_POINTS):
            try:
                source = found.load()(self._service, self._environment_name)
                self._sources.append(WatchedSource(getattr(source, "priority", CUSTOM_PRIORITY), source))
            except Exception as error:  # noqa: BLE001 - importing what is not ours may raise anything
                logger.error("a source cannot be made: %s error=%s", found.value, type(error).__name__)


_keepers: WeakSet[Keeper[Any]] = WeakSet()


def note_orderly_end() -> None:
    """This process was told to end: whatever ends it now is no crash. It writes to the disk."""
    for keeper in list(_keepers):
        if keeper.client is not None:
            keeper.client.crashes.close(in_good_order=True)


def _go_on_in_child() -> None:
    for keeper in list(_keepers):
        try:
            keeper.go_on_in_child()
        except Exception:
            logger.exception("updates do not go on in this process")


# In a child hooks run in the order they were registered. Ours starts threads that use executors, whose module makes its
# lock anew by a hook of its own and is else loaded with the first executor: a thread that already waits for that lock
# would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on_in_child)


def _end_with_the_interpreter() -> None:
    """A script may be over in an instant: what it ran on is still kept on disk for the next."""
    in_good_order = not orderly_end.is_by_error()
    runs = [keeper.stop(in_good_order=in_good_order) for keeper in list(_keepers) if keeper.is_running]
    for run in filter(None, runs):
        with suppress(TimeoutError):
            run.ended.result(EXIT_SECONDS)


atexit.register(_end_with_the_interpreter)
