"""One list of instances, and one of them after another by whatever policy."""

import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from central_hub_client.routing.eligibility import eligible, why_nobody
from central_hub_client.routing.hash_ring import HashRing
from central_hub_client.routing.policy import Choice, Draw, Fallback, NothingToCall, Policy, T
from central_hub_client.routing.turns import Turns
from central_hub_client.routing.two_choices import TwoChoices
from central_hub_client.wire import HealthState

M = TypeVar("M")

_NOTHING_UNDER_WAY: Final[Mapping[str, int]] = MappingProxyType({})


class Balancer(Generic[T]):
    """Chooses among the instances of one list, which never changes: another list is another balancer.

    Safe to use from any thread. What a policy needs is prepared when it is first asked for.
    """

    def __init__(
        self, instances: Iterable[T], draw: Draw, *, under_way: Mapping[str, int] = _NOTHING_UNDER_WAY
    ) -> None:
        self.instances = tuple(instances)
        self.eligible = eligible(self.instances)
        """Those that may be called, by name."""
        self._draw = draw
        self._under_way = under_way
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}
        is_degraded = any(instance.state == HealthState.DEGRADED for instance in self.eligible)
        self.fallbacks = (Fallback.DEGRADED,) if is_degraded else ()
        """What every choice of this list has to admit to."""

    def pick(
        self, policy: Policy = Policy.ROUND_ROBIN, *, key: str | None = None, zone: str | None = None
    ) -> Choice[T]:
        """The instance to call. Raises NothingToCall, and ValueError where the policy needs a key or a zone."""
        check_arguments(policy, key=key, zone=zone)
        if not self.eligible:
            raise NothingToCall(why_nobody(self.instances))
        with self._lock:
            match policy:
                case Policy.ROUND_ROBIN:
                    return Choice(self._turns().next(), self.fallbacks)
                case Policy.RANDOM:
                    return Choice(self._two_choices().next(), self.fallbacks)
                case Policy.CONSISTENT_HASH:
                    return Choice(self._ring().owner(key or ""), self.fallbacks)
                case Policy.SAME_ZONE:
                    if (turns := self._zones().get(zone)) is not None:
                        return Choice(turns.next(), self.fallbacks)
                    return Choice(self._turns().next(), (*self.fallbacks, Fallback.OTHER_ZONE))

    def prepare_for(self, used: "Balancer[T]") -> None:
        """Make now what the policies need that `used` was asked for: a change of the list shall hold up no call. It is
        for before anybody picks from this one."""
        if self.eligible:
            for name in list(used._made):
                getattr(self, name)()

    def _turns(self) -> Turns[T]:
        return self._once("_turns", lambda: Turns(self.eligible, self._draw))

    def _two_choices(self) -> TwoChoices[T]:
        return self._once("_two_choices", lambda: TwoChoices(self.eligible, self._under_way, self._draw))

    def _ring(self) -> HashRing[T]:
        return self._once("_ring", lambda: HashRing(self.eligible))

    def _zones(self) -> dict[str | None, Turns[T]]:
        return self._once("_zones", self._make_zones)

    def _make_zones(self) -> dict[str | None, Turns[T]]:
        zones: dict[str | None, list[T]] = {}
        for instance in self.eligible:
            if instance.zone is not None:
                zones.setdefault(instance.zone, []).append(instance)
        return {zone: Turns(instances, self._draw) for zone, instances in zones.items()}

    def _once(self, name: str, make: Callable[[], M]) -> M:
        # Not `cached_property`: before Python 3.12 it has a lock for all objects, which a forked process may inherit
        # locked by a thread that is not there.
        try:
            found: M = self._made[name]
        except KeyError:
            found = self._made[name] = make()
        return found


def check_arguments(policy: Policy, *, key: str | None, zone: str | None) -> None:
    """Raise ValueError where something is missing that the policy goes by, or given that it does not look at."""
    for needed_by, name, value in ((Policy.CONSISTENT_HASH, "key", key), (Policy.SAME_ZONE, "zone", zone)):
        if policy is needed_by and value is None:
            raise ValueError(f"{policy} needs a {name}")
        if policy is not needed_by and value is not None:
            raise ValueError(f"a {name} is for {needed_by}, and {policy} does not look at it")
