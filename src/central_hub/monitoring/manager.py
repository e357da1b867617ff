"""Watches the infrastructure: the targets that are this replica's are probed here, and how all are is known here."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from central_hub.connections.database import Database
from central_hub.connections.health_probe import Probed
from central_hub.errors import InvalidRequest, NotFound, StoreUnavailable
from central_hub.monitoring.health import observe
from central_hub.monitoring.infrastructure import Component, Infrastructure, Maintenance, ProbeSettings
from central_hub.monitoring.maintenance import in_maintenance
from central_hub.monitoring.prober import SHARED_FOR_SECONDS, Ask, Prober
from central_hub.monitoring.schedule import own, probed
from central_hub.monitoring.targets import Targets
from central_hub.storage import targets as stored
from central_hub.storage.target_values import Target, Transition
from central_hub_client.wire import HealthState

TURN_SECONDS: Final = 0.7
"""Between two writes of results. Another replica knows of one within two turns, which is below two seconds."""
UNHEARD_FOR_SECONDS: Final = 3.0
"""After so long without the store, what other replicas probe is told as it was."""
TRANSITIONS_KEPT_FOR: Final = timedelta(days=90)
_ROWS_KEPT_FOR: Final = timedelta(hours=1)

Listener = Callable[[], None]

log = structlog.get_logger()


class MonitoringManager:
    """Each target is probed by one replica; all of them know how all targets are, within two seconds.

    While the store is not reached probing goes on: what this replica finds out counts here at once, and is written once
    the store is back, unless another replica has taken the target over.
    """

    def __init__(
        self,
        database: Database,
        own_id: str,
        clock: Callable[[], datetime],
        *,
        infrastructure: Callable[[], Infrastructure],
        why_refused: Callable[[], str | None],
        ask: Ask,
        on_probed: Callable[[str, Probed], None],
        on_transition: Callable[[Transition], None],
    ) -> None:
        self.own_id = own_id
        self.infrastructure = infrastructure
        self.why_refused = why_refused
        """What is wrong with a later file, while the infrastructure is that of the one before."""
        self.prober = Prober(ask, self._probed)
        self._database = database
        self._clock = clock
        self._on_probed = on_probed
        self._on_transition = on_transition
        self._targets = Targets()
        self._components: dict[str, tuple[Component, ProbeSettings]] = {}
        self._settings: dict[str, ProbeSettings] = {}
        self._replicas = frozenset({own_id})
        self._own: frozenset[str] = frozenset()
        self._gone: set[str] = set()
        self._is_running = False
        self._position = 0
        self._has_new = False
        self._looks = 0
        self._heard_at = time.monotonic()
        self._turn = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._expired: frozenset[str] = frozenset()
        self._told: tuple[int, frozenset[str]] = (0, frozenset())
        self._arrange()

    @property
    def is_loaded(self) -> bool:
        """Whether what the store knows of the targets is known here."""
        return self._looks > 0

    @property
    def targets(self) -> dict[str, Target]:
        """How every component that is probed is, as this replica knows it: `expired` where nobody has told for long."""
        now, moment = self._clock(), time.monotonic()
        # What others find out is not heard while the store is away: nothing of that may expire meanwhile.
        heard = min(moment, self._heard_at + UNHEARD_FOR_SECONDS)
        moments = {name: moment if name in self._own else heard for name in self._components}
        return dict(self._targets.counted(self._settings, now, moments))

    @property
    def is_stale(self) -> bool:
        """Whether some targets are told as they were a while ago: others probe them, and the store is not reached."""
        is_deaf = time.monotonic() - self._heard_at > UNHEARD_FOR_SECONDS
        return is_deaf and len(self._own) < len(self._components)

    def listen(self, listener: Listener) -> None:
        """Call `listener` when a target is told otherwise than before, or another one comes or goes."""
        self._listeners.append(listener)

    def maintenance(self, name: str) -> Maintenance | None:
        """The maintenance that a component is in now."""
        return in_maintenance(self.infrastructure(), name, self._clock())

    def share_with(self, replicas: Iterable[str]) -> None:
        """The replicas that are at work. This one is, whatever is said."""
        found = frozenset(replicas) | {self.own_id}
        if found != self._replicas:
            self._replicas = found
            self._arrange()

    def reload(self) -> None:
        """The infrastructure is another one: probe what is there now, and forget what is not."""
        self._arrange()
        self._tell()

    async def check(self, name: str) -> Probed:
        """Probe a component now, whosever it is; the result counts as any other. Raises NotFound, InvalidRequest.

        Who asks while a probe runs, or within a second of its beginning, gets the result of that.
        """
        if name not in self.infrastructure().components:
            raise NotFound(f"there is no component {name}")
        if name not in self._components:
            raise InvalidRequest(f"{name} is not probed: give it a probe in the file of the infrastructure")
        component, settings = self._components[name]
        found = await self.prober.probe(component, settings, shared_for=SHARED_FOR_SECONDS)
        if name not in self._own:
            try:
                # At once: whose target it is would be quicker than the next turn.
                await self.write()
            except StoreUnavailable:
                log.debug("check_waits_to_be_written", target=name)
        return found

    async def transitions(self, name: str, *, limit: int) -> list[Transition]:
        """How a target came to be as it is, newest first. Raises StoreUnavailable."""
        async with self._database.reading() as connection:
            found = await stored.transitions(connection, name, limit=limit)
        told = {each.at: each for each in found + self.unwritten_transitions(name)}
        return [told[at] for at in sorted(told, reverse=True)][:limit]

    def unwritten_transitions(self, name: str) -> list[Transition]:
        """Those that this replica has seen and not yet written, newest first."""
        return self._targets.unwritten_transitions(name)[::-1]

    async def run(self) -> None:
        """Probe, write what is found out and read what others found out, until cancelled."""
        self._is_running = True
        self._arrange()
        is_lost = False
        try:
            while True:
                await asyncio.sleep(TURN_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311 - jitter
                try:
                    await self.catch_up()
                    await self.write()
                    is_lost = False
                except StoreUnavailable as error:
                    if not is_lost:
                        log.warning("targets_wait", reason=error.detail)
                    is_lost = True
                except Exception:
                    # The top of a background loop: whatever happens, results must go on being told.
                    log.exception("targets_failed")
                self._expire()
                self._tell()
        finally:
            self._is_running = False
            await self.prober.stop()

    async def catch_up(self) -> None:
        """Look at what the store knows that is not known here. Raises StoreUnavailable; what is known stays."""
        if self.is_loaded and not self._components:
            self._heard_at = time.monotonic()
            return
        async with self._turn:
            position = 0 if self._has_new else self._position
            # After a failure: everything, it may be another store by then.
            self._position, self._has_new = 0, False
            async with self._database.reading() as connection:
                rows, upcoming = await stored.changed_since(connection, position, is_known=self._targets.is_known)
            now, moment = self._clock(), time.monotonic()
            if position == 0:
                self._targets.take_all(rows, self._own, now, moment)
            else:
                for row in rows:
                    self._targets.take(row, now, moment)
            self._position = upcoming
            self._heard_at = moment
            self._looks += 1

    async def write(self) -> None:
        """Tell the store what was found out. Raises StoreUnavailable; then it is kept."""
        async with self._turn:
            rows, transitions = self._targets.to_write(time.monotonic())
            if rows:
                written = await self._database.transaction(
                    lambda connection: stored.write(connection, rows, transitions)
                )
                self._targets.written(written, time.monotonic())
            if gone := frozenset(self._gone):
                await self._database.transaction(lambda connection: stored.remove(connection, gone))
                self._gone -= gone

    async def forget_old(self) -> None:
        """Remove old transitions, and targets that no replica has probed for long. Raises StoreUnavailable."""
        now, names = self._clock(), list(self._components)
        await self._database.transaction(
            lambda connection: stored.forget_before(
                connection, now - _ROWS_KEPT_FOR, transitions_before=now - TRANSITIONS_KEPT_FOR, but=names
            )
        )

    def _arrange(self) -> None:
        """Let what this replica is to probe be what it probes."""
        before = self._components
        self._components = probed(self.infrastructure())
        # Another replica may have been quicker to probe what is new: its row was passed over until now.
        self._has_new = self._has_new or bool(self._components.keys() - before.keys())
        self._settings = {name: settings for name, (_, settings) in self._components.items()}
        for name in self._targets.keep(self._components, self._clock(), time.monotonic()):
            self.prober.forget(name)
            self._gone.add(name)
        self._gone.difference_update(self._components)
        self._own = own(self._components, self.own_id, self._replicas)
        if self._is_running:
            self.prober.watch({name: self._components[name] for name in self._own})

    def _probed(self, component: Component, probed: Probed) -> None:
        known = self._components.get(component.name)
        before = self._targets.find(component.name)
        if known is None or known[0] != component or before is None:
            return  # it was changed or removed while it was asked
        self._on_probed(component.name, probed)
        found, transition = observe(before, probed, known[1], self._clock())
        self._targets.found(replace(found, probed_by=self.own_id), transition, time.monotonic())
        if transition is not None:
            self._on_transition(transition)
            _note(transition)
        self._tell()

    def _expire(self) -> None:
        self._expired = frozenset(name for name, each in self.targets.items() if each.state is HealthState.EXPIRED)

    def _tell(self) -> None:
        if (told := (self._targets.version, self._expired)) != self._told:
            self._told = told
            for listener in self._listeners:
                listener()


def _note(transition: Transition) -> None:
    tell = log.info if transition.to_state is HealthState.HEALTHY else log.warning
    tell(
        "target_changed",
        target=transition.target,
        state=str(transition.to_state),
        before=str(transition.from_state),
        reason=transition.reason,
    )
