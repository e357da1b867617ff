"""The instances of one service that a client knows: where the list came from, and what may take its place.

No I/O and no waiting. The list in use is replaced by one assignment, so that whoever picks from it, in whatever thread,
waits for nobody. Silence, errors and age take nothing away from it.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from central_hub_client.errors import CentralHubError, HubUnavailable, HubUnreachable, InvalidAnswer
from central_hub_client.held_config import Source
from central_hub_client.routing.balancer import Balancer
from central_hub_client.routing.eligibility import eligible
from central_hub_client.routing.policy import Draw
from central_hub_client.service_instance import ServiceInstance
from central_hub_client.wire import HealthState

logger = logging.getLogger("central_hub_client")

RECOVERY_SECONDS: Final = 90.0
"""How long a hub that was away may take until it knows the fleet again: instances wait up to a minute between two
attempts to reach it, and then send a heartbeat every ten seconds."""


@dataclass(frozen=True, slots=True)
class DirectoryStatus:
    """How fresh the list of a service is. `stale` is a signal, never an action.

    `source` is None while there is no list, `hub`, or `last_known_good` for one from disk. `age_seconds` counts from
    when the hub last confirmed it. `is_kept` says that the hub, which was away a moment ago, knows of nobody to call,
    and that those it knew before go on being called.
    """

    service: str
    source: Source | None
    instances: int
    eligible: int
    age_seconds: float | None
    stale: bool
    is_kept: bool
    error: str | None
    error_code: str | None


class HeldInstances:
    """One service's list. `now` is what a clock says that nobody sets (`time.monotonic`)."""

    def __init__(self, service: str, environment: str, draw: Draw, *, fresh_seconds: float) -> None:
        self.service = service
        self.environment = environment
        self._draw = draw
        self._fresh_seconds = fresh_seconds
        self._source: Source | None = None
        self._confirmed_at: float | None = None
        self._lost_at: float | None = None
        self.is_kept = False
        """Whether the hub, which was away a moment ago, says that there is nobody, and is not followed in that."""
        self._error: CentralHubError | None = None
        self._under_way: dict[str, int] = {}
        self._counting = threading.Lock()
        self.balancer = self._balancer(())
        """Replaced as a whole."""

    @property
    def instances(self) -> tuple[ServiceInstance, ...]:
        return self.balancer.instances

    @property
    def error(self) -> CentralHubError | None:
        """Why the last attempt to hear from the hub failed, None if it succeeded."""
        return self._error

    @property
    def is_known(self) -> bool:
        """Whether there is a list at all; it may be an empty one."""
        return self._source is not None

    def status(self, now: float) -> DirectoryStatus:
        age = None if self._confirmed_at is None else max(0.0, now - self._confirmed_at)
        balancer, error = self.balancer, self._error
        is_fresh = self._source is Source.HUB and age is not None and age <= self._fresh_seconds
        return DirectoryStatus(
            self.service,
            self._source,
            len(balancer.instances),
            len(balancer.eligible),
            age,
            not is_fresh or self.is_kept or error is not None,
            self.is_kept,
            None if error is None else f"{error.code}: {error.detail}",
            None if error is None else error.code,
        )

    def restore(self, instances: Sequence[ServiceInstance], confirmed_at: float) -> None:
        """Use what an earlier run left, unless something better is known already."""
        if self._source is None:
            self._source, self._confirmed_at = Source.LAST_KNOWN_GOOD, confirmed_at
            self._use(instances)

    def take(self, instances: Sequence[ServiceInstance], now: float) -> bool:
        """Use what the hub says; whether that changes anything.

        Where it could not be asked a moment ago, an answer that leaves nobody to call takes away only those that said
        themselves that they are not well, or going: the others could not reach it either, and their leases ran out.
        """
        if self._error is not None:
            logger.info("the hub is heard again: instances of %s", self.service)
        self._error, self._source, self._confirmed_at = None, Source.HUB, now
        used = self._kept_by(instances, now)
        if used is not None and not self.is_kept:
            logger.warning(
                "the hub, which was away, knows of nobody to call, so those it knew before go on being called:"
                " service=%s environment=%s listed=%d",
                self.service,
                self.environment,
                len(instances),
            )
        self.is_kept = used is not None
        return self._use(instances if used is None else used)

    def fail(self, error: CentralHubError, now: float) -> None:
        """The hub could not be asked, or said no: what is held stays."""
        if isinstance(error, HubUnreachable | HubUnavailable | InvalidAnswer):
            self._lost_at = now
        if self._error is None or self._error.code != error.code:
            logger.warning(
                "no news of instances from the hub: service=%s code=%s detail=%s known=%d",
                self.service,
                error.code,
                error.detail,
                len(self.instances),
            )
        self._error = error

    @contextmanager
    def counting(self, instance_id: str) -> Iterator[None]:
        """A call to an instance is under way within the block."""
        self._count(instance_id, 1)
        try:
            yield
        finally:
            self._count(instance_id, -1)

    def after_fork(self) -> None:
        """In a forked process: the calls under way are the parent's, and a lock may be held by a thread that is not
        there."""
        self._counting = threading.Lock()
        self._under_way = {}
        self.balancer = self._balancer(self.balancer.instances)

    def _kept_by(self, listed: Sequence[ServiceInstance], now: float) -> list[ServiceInstance] | None:
        """What to use in place of a list with nobody to call, None where the list counts."""
        in_use = {instance.instance_id: instance for instance in self.balancer.eligible}
        was_away = self._lost_at is not None and now - self._lost_at < RECOVERY_SECONDS
        if not was_away or not in_use or eligible(listed):
            return None
        names = {instance.instance_id for instance in listed}
        kept = [
            in_use.get(found.instance_id, found) if found.state == HealthState.EXPIRED else found for found in listed
        ]
        kept += [instance for name, instance in in_use.items() if name not in names]
        return kept if eligible(kept) else None

    def _use(self, instances: Sequence[ServiceInstance]) -> bool:
        if tuple(instances) == self.balancer.instances:
            return False
        upcoming = self._balancer(instances)
        upcoming.prepare_for(self.balancer)
        self.balancer = upcoming
        return True

    def _balancer(self, instances: Sequence[ServiceInstance]) -> Balancer[ServiceInstance]:
        return Balancer(instances, self._draw, under_way=self._under_way)

    def _count(self, instance_id: str, change: int) -> None:
        with self._counting:
            count = self._under_way.get(instance_id, 0) + change
            if count > 0:
                self._under_way[instance_id] = count
            else:
                self._under_way.pop(instance_id, None)
