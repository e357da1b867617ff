"""ConfigManager: a service's configuration out of layers, typed, explained, current, and never in the way."""

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Generic, Self, cast, overload

from central_hub_client.absent_config import AbsentConfig
from central_hub_client.assembly import Snapshot
from central_hub_client.binding import Binding, PlainBinding, Refused, S, nested
from central_hub_client.blocking import wait_for_future
from central_hub_client.change import changed_paths
from central_hub_client.config_client import START_SECONDS, ConfigClient
from central_hub_client.config_report import Report, Standing, standing
from central_hub_client.errors import Finding, IncompleteConfig, InvalidConfig
from central_hub_client.explain import Explanation, explain, explain_all
from central_hub_client.keeper import Keeper
from central_hub_client.manager_status import ManagerStatus, status_of
from central_hub_client.notifications import Callback, Changes, SettingsChange, Subscriber
from central_hub_client.registration import InstanceDescription
from central_hub_client.report import InstanceReport
from central_hub_client.section import Section
from central_hub_client.sources import CUSTOM_PRIORITY, ConfigSource
from central_hub_client.sources.files import files_of
from central_hub_client.strict_json import escape_pointer
from central_hub_client.wire import DEFAULT_ENVIRONMENT, HealthState, is_environment_name, is_service_name

logger = logging.getLogger("central_hub_client")

STOP_SECONDS: Final = 10.0
_ABSENT: Final = object()


class ConfigManager(Generic[S]):
    """One service's configuration: environment variables over the hub over files over the model's defaults.

    Constructing it does no I/O and never raises; `start` reads, asks the hub within its deadline, and keeps everything
    current in daemon threads of its own, in scripts, forked workers and inside an event loop alike. What the model
    refuses is never used: the configuration in use stays, and `status.rejected` says why.

    `schema` is a Pydantic model or a dataclass; without one `current` is a read-only mapping. `hub` is a client that
    nobody started; without one the manager makes its own where a URL is known. Files are `<environment>`, `<service>`
    and `default` in `config_dir`, as .json, .yaml or .toml. `strict=True` makes `start` raise IncompleteConfig where
    required values come from nowhere; else the first use of `current` does.

    While it runs, the hub is told in the background that this instance is there, and what of its configuration it uses
    (names of keys, no values): `register` may describe the instance (labels, version, host, port, …), or be False.
    """

    current: S
    """The configuration in use: whole, immutable for plain data and frozen models, replaced by one assignment."""

    @overload
    def __init__(
        self: "ConfigManager[Mapping[str, Any]]",
        service_name: str,
        schema: None = None,
        *,
        hub: ConfigClient | None = None,
        strict: bool = False,
        config_dir: str | os.PathLike[str] | None = "config",
        central_hub_url: str | None = None,
        token: str | None = None,
        environment: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        instance_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        register: bool | InstanceDescription = True,
    ) -> None: ...

    @overload
    def __init__(
        self,
        service_name: str,
        schema: type[S],
        *,
        hub: ConfigClient | None = None,
        strict: bool = False,
        config_dir: str | os.PathLike[str] | None = "config",
        central_hub_url: str | None = None,
        token: str | None = None,
        environment: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        instance_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        register: bool | InstanceDescription = True,
    ) -> None: ...

    def __init__(
        self,
        service_name: str,
        schema: type[S] | None = None,
        *,
        hub: ConfigClient | None = None,
        strict: bool = False,
        config_dir: str | os.PathLike[str] | None = "config",
        central_hub_url: str | None = None,
        token: str | None = None,
        environment: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        instance_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        register: bool | InstanceDescription = True,
    ) -> None:
        self.service_name = service_name
        self._strict = strict
        self._problem: str | None = None
        client: ConfigClient | None = None
        is_named = is_service_name(service_name)
        if not is_named:
            self._problem = f"{service_name[:100]!r} cannot name a service: no hub and no files are used"
        elif hub is not None and hub.service_name == service_name:
            client = hub
        elif hub is not None:
            self._problem = f"the client is that of {hub.service_name}: it is not used"
        else:
            own = ConfigClient(
                service_name,
                central_hub_url,
                token=token,
                environment=environment,
                cache_dir=cache_dir,
                instance_id=instance_id,
                labels=labels,
            )
            environment = own.environment
            client = own if own.has_hub else None
            if client is None and own.problems:
                self._problem = "; ".join(own.problems)
        if self._problem is not None:
            logger.error("no hub is asked: service=%s: %s", service_name[:100], self._problem)
        self.environment = client.environment if client is not None else environment or DEFAULT_ENVIRONMENT
        has_files = is_named and is_environment_name(self.environment) and config_dir is not None
        files = files_of(service_name, self.environment, Path(config_dir or "")) if has_files else []
        self._binding = _binding(schema)
        self._subscribers: list[Subscriber[S] | Changes[S]] = []
        self._found: dict[str, Any] = {}
        self._told: tuple[tuple[Any, ...], InstanceReport] | None = None
        self._state: Callable[[], HealthState] = _healthy
        self.current = cast(S, AbsentConfig(self._incomplete))
        if client is not None and register is not False:
            description = register if isinstance(register, InstanceDescription) else InstanceDescription()
            client.register(self._instance_report, description)
        self._keeper: Keeper[S] = Keeper(
            service_name, self.environment, self._binding, client, [*files], self._swapped, self._forked
        )

    def __repr__(self) -> str:
        return f"ConfigManager({self.service_name!r}, environment={self.environment!r})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.stop(in_good_order=not isinstance(error, Exception))

    async def __aenter__(self) -> Self:
        await self.start_async()
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        await self.stop_async(in_good_order=not isinstance(error, Exception))

    def start(self, deadline: float = START_SECONDS) -> None:
        """Start, and wait until everything was asked, for `deadline` seconds at most; errors end the wait at once.

        It blocks: inside an event loop use `async with`, or `start_async`. Calling it again does nothing; after `stop`
        it starts anew.
        """
        run = self._keeper.start(deadline)
        with suppress(TimeoutError):
            run.started.result(deadline)
        self._refuse_to_start_without_values()

    async def start_async(self, deadline: float = START_SECONDS) -> None:
        """`start` without blocking the event loop."""
        await wait_for_future(self._keeper.start(deadline).started, deadline)
        self._refuse_to_start_without_values()

    def stop(self, *, in_good_order: bool = True) -> None:
        """Stop updating; what is in use stays readable. Waits for the threads to end, a few seconds at most.

        Otherwise than in good order, the service crashes: the revision in use is suspected of it.
        """
        ended = self._stop(in_good_order=in_good_order)
        if ended is not None:
            with suppress(TimeoutError):
                ended.result(STOP_SECONDS)

    async def stop_async(self, *, in_good_order: bool = True) -> None:
        """`stop` without blocking the event loop."""
        ended = self._stop(in_good_order=in_good_order)
        if ended is not None:
            await wait_for_future(ended, STOP_SECONDS)

    def get(self, path: str, default: Any = None) -> Any:
        """The value at a dotted path such as `operational.batch_size`, or `default` if there is none (null is one)."""
        try:
            return self._found[path]
        except KeyError:
            return self._look_up(path, default)

    def __getitem__(self, path: str) -> Any:
        value = self.get(path, _ABSENT)
        if value is _ABSENT:
            raise KeyError(path)
        return value

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.get(path, _ABSENT) is not _ABSENT

    def section(self, path: str) -> Section:
        """The part under a dotted path, always as it is now."""
        return Section(self, path)

    def is_enabled(self, feature: str) -> bool:
        """Whether `features.<feature>` is true; anything else, or nothing, is no."""
        return self.get(f"features.{feature}") is True

    @overload
    def explain(self, path: str) -> Explanation: ...

    @overload
    def explain(self, path: None = None) -> dict[str, Explanation]: ...

    def explain(self, path: str | None = None) -> Explanation | dict[str, Explanation]:
        """Where the value at `path` comes from and what it hides; without a path, of every leaf. Secrets stay hidden.

        It asks nobody. Raises KeyError where there is no such value, and IncompleteConfig where there is nothing.
        """
        snapshot = self._snapshot()
        return explain_all(snapshot, self._binding) if path is None else explain(path, snapshot, self._binding)

    def report(self) -> Report:
        """What of the configuration is used and what is not. Takes milliseconds: not for every request."""
        return self._standing().to_report()

    @property
    def why_incomplete(self) -> str | None:
        """Why there is nothing to run on, None where there is."""
        return self._incomplete().detail if self._keeper.snapshot is None else None

    def report_state(self, state: Callable[[], HealthState]) -> None:
        """Have every heartbeat say what `state` returns, in place of `healthy`. It is called in another thread and must
        return at once. `BaseService` does this; a forked process begins without it."""
        self._state = state
        self.report_soon()

    def report_soon(self) -> None:
        """Tell the hub before the next heartbeat is due: the instance's state has changed. From any thread."""
        self._keeper.report_soon()

    @property
    def is_drained(self) -> bool:
        """Whether an operator took this instance out of routing, as the hub said with the last heartbeat.

        Nobody is sent to it by the hub any more. It need not end: the operator may put it back. From any thread.
        """
        return self._keeper.is_drained

    @property
    def status(self) -> ManagerStatus:
        """Where the configuration in use comes from, how fresh it is, and what is not used and why."""
        return status_of(self._keeper, self._problem)

    def add_source(self, source: ConfigSource, priority: int = CUSTOM_PRIORITY) -> None:
        """Add a layer of one's own. It counts from the start on; added later, as soon as it was loaded."""
        self._keeper.add(source, priority)

    @contextmanager
    def override(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Put values, by dotted path or nested, above everything else within the block: for tests and for trials.

        Works without a start. Raises InvalidConfig where the model refuses them or does not declare them.
        """
        try:
            end = self._keeper.override(nested(values))
        except Refused as error:
            raise InvalidConfig(str(error), errors=_findings(error.problems)) from None
        try:
            yield
        finally:
            end()

    def on_config_update(self, callback: Callback[S], pattern: str = "**") -> Callable[[], None]:
        """Call `callback` with every later change of what fits `pattern`; returns what ends that.

        A plain function runs in a thread, an async one on the event loop this is called from (else in a thread). One
        call at a time; changes that come meanwhile are told as one. What it raises is logged.
        """
        subscriber = Subscriber(callback, pattern, self.current, self._compare)
        self._subscribe(subscriber)

        def stop_listening() -> None:
            subscriber.stop()
            self._unsubscribe(subscriber)

        return stop_listening

    def on_change(self, pattern: str = "**") -> Callable[[Callback[S]], Callback[S]]:
        """`on_config_update` as a decorator, for what shall never end: `@config.on_change("operational.**")`."""

        def listen(callback: Callback[S]) -> Callback[S]:
            self.on_config_update(callback, pattern)
            return callback

        return listen

    async def changes(self, pattern: str = "**") -> AsyncIterator[SettingsChange[S]]:
        """Every later change of what fits a pattern such as `operational.**`, until the manager stops."""
        listener = Changes(pattern, self.current, self._compare)
        self._subscribe(listener)
        try:
            async for change in listener:
                yield change
        finally:
            listener.stop()
            self._unsubscribe(listener)

    def _standing(self) -> Standing:
        keeper = self._keeper
        missing = "; ".join(map(str, keeper.incomplete)) or None
        offered = None if keeper.offered is None else keeper.offered.position
        return standing(keeper.snapshot, self._binding, keeper.rejections, offered=offered, incomplete=missing)

    def _instance_report(self) -> InstanceReport:
        """Asked for with every heartbeat, and made anew only where something it follows from has changed."""
        keeper, reads = self._keeper, self._binding.reads
        basis = (
            keeper.snapshot,
            keeper.rejections,
            keeper.incomplete,
            keeper.offered,
            None if reads is None else len(reads),
        )
        if self._told is None or self._told[0] != basis:
            self._told = basis, self._standing().to_instance_report()
        told, state = self._told[1], self._state()
        return told if state is told.state else replace(told, state=state)

    def _snapshot(self) -> Snapshot[S]:
        if self._keeper.snapshot is None:
            raise self._incomplete()
        return self._keeper.snapshot

    def _look_up(self, path: str, default: Any) -> Any:
        snapshot = self._keeper.snapshot
        if snapshot is None:
            return default
        value: Any = snapshot.value
        try:
            for key in path.split("."):
                value = self._binding.child(value, key)
        except KeyError:
            return default
        snapshot.found[path] = value  # only what there is: callers may make up paths without end
        return value

    def _swapped(self, snapshot: Snapshot[S]) -> None:
        self._found = snapshot.found
        self.current = snapshot.value
        position = snapshot.position
        for subscriber in list(self._subscribers):
            subscriber.tell(snapshot.value, position)

    def _forked(self) -> None:
        self._state = _healthy  # what the parent measures is not about this process
        self._subscribers = [subscriber for subscriber in self._subscribers if not subscriber.belongs_to_a_loop]
        for subscriber in self._subscribers:
            subscriber.after_fork()

    def _subscribe(self, subscriber: Subscriber[S] | Changes[S]) -> None:
        self._subscribers.append(subscriber)
        # A change may have come before it was in the list, and the next while it is told of that one: the last counts.
        told: Snapshot[S] | None = None
        while (snapshot := self._keeper.snapshot) is not None and snapshot is not told:
            subscriber.tell(snapshot.value, snapshot.position)
            told = snapshot

    def _unsubscribe(self, subscriber: Subscriber[S] | Changes[S]) -> None:
        with suppress(ValueError):
            self._subscribers.remove(subscriber)

    def _compare(self, old: S, new: S) -> tuple[str, ...]:
        trees = [{} if isinstance(value, AbsentConfig) else self._binding.tree(value) for value in (old, new)]
        return changed_paths(*trees)

    def _stop(self, *, in_good_order: bool = True) -> "Future[None] | None":
        for subscriber in list(self._subscribers):
            if isinstance(subscriber, Changes):
                subscriber.stop()
        run = self._keeper.stop(in_good_order=in_good_order)
        return None if run is None else run.ended

    def _refuse_to_start_without_values(self) -> None:
        if self._keeper.snapshot is None:
            if self._strict:
                self._stop()
                raise self._incomplete()
            logger.error("there is nothing to run on: service=%s: %s", self.service_name, self._incomplete().detail)

    def _incomplete(self) -> IncompleteConfig:
        problems = self._keeper.incomplete
        reasons = "; ".join(map(str, problems)) or "it was not assembled yet"
        return IncompleteConfig(f"no configuration of {self.service_name}: {reasons}", errors=_findings(problems))


def _binding(schema: type[S] | None) -> Binding[S]:
    if schema is None or schema is dict:
        return cast("Binding[S]", PlainBinding())
    from central_hub_client.model_binding import ModelBinding

    return ModelBinding(schema)


def _healthy() -> HealthState:
    return HealthState.HEALTHY


def _findings(problems: Any) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            "".join(f"/{escape_pointer(key)}" for key in problem.path),
            "missing" if problem.is_missing else "invalid",
            problem.message,
        )
        for problem in problems
    )
