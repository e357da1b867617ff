"""Which instance this replica names to whoever asks it for one. Pure, but for whose turn it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from central_hub.coordination.registry import state_of
from central_hub.errors import NoInstance
from central_hub.storage.instance_values import Instance
from central_hub_client.routing.balancer import Balancer
from central_hub_client.routing.hash_ring import owner
from central_hub_client.routing.policy import Choice, Draw, Fallback, NothingToCall, Policy
from central_hub_client.wire import HealthState


@dataclass(frozen=True, slots=True)
class Candidate:
    """What routing looks at of an instance. Heartbeats leave it as it is."""

    instance_id: str
    state: HealthState
    weight: int
    zone: str | None

    @classmethod
    def of(cls, instance: Instance, now: datetime) -> "Candidate":
        description = instance.description
        return cls(instance.instance_id, state_of(instance, now), description.weight, description.zone)


@dataclass(frozen=True, slots=True)
class Routed:
    """The instance to call, and how it falls short of what was asked for."""

    instance: Instance
    fallbacks: tuple[Fallback, ...]


class Router:
    """Keeps for each service in each environment whose turn it is, until its instances change."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._balancers: dict[tuple[str, str], Balancer[Candidate]] = {}

    def route(
        self,
        service: str,
        environment: str,
        instances: Iterable[Instance],
        policy: Policy,
        *,
        key: str | None,
        zone: str | None,
        now: datetime,
    ) -> Routed:
        """One of `instances`, which are those of the service in the environment. Raises NoInstance."""
        by_name = {instance.instance_id: instance for instance in instances}
        balancer = self._balancer((service, environment), [Candidate.of(found, now) for found in by_name.values()])
        try:
            choice = _pick(balancer, policy, key=key, zone=zone)
        except NothingToCall as error:
            raise NoInstance(f"no instance of {service} in environment {environment} can be called: {error}") from error
        return Routed(by_name[choice.instance.instance_id], choice.fallbacks)

    def _balancer(self, place: tuple[str, str], candidates: list[Candidate]) -> Balancer[Candidate]:
        if not candidates:
            self._balancers.pop(place, None)  # anybody may ask for names that nobody has
            return Balancer(candidates, self._draw)
        held = self._balancers.get(place)
        if held is None or list(held.instances) != candidates:
            held = self._balancers[place] = Balancer(candidates, self._draw)
        return held


def _pick(balancer: Balancer[Candidate], policy: Policy, *, key: str | None, zone: str | None) -> Choice[Candidate]:
    if policy is Policy.CONSISTENT_HASH and key is not None and balancer.eligible:
        # A ring for thousands would hold up everybody else while it is made, after every change.
        return Choice(owner(balancer.eligible, key), balancer.fallbacks)
    return balancer.pick(policy, key=key, zone=zone)
