"""Which instance this replica names to whoever asks it for one. Pure, but for whose turn it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from central_hub.coordination.fleet import Fleet, Member, Place
from central_hub.errors import NoInstance
from central_hub_client.routing.balancer import Balancer
from central_hub_client.routing.eligibility import eligible
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
    def of(cls, member: Member) -> "Candidate":
        description = member.instance.description
        return cls(member.instance.instance_id, member.state, description.weight, description.zone)


@dataclass(frozen=True, slots=True)
class Routed:
    """The instance to call, and how it falls short of what was asked for."""

    member: Member
    fallbacks: tuple[Fallback, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is made of a service's instances; good until their next change."""

    change: int
    balancer: Balancer[Candidate]


def would_leave_nobody(members: Iterable[Member], instance_id: str) -> bool:
    """Whether this is the last of `members` (those of a service in an environment) that can be called."""
    candidates = [Candidate.of(member) for member in members]
    others = [candidate for candidate in candidates if candidate.instance_id != instance_id]
    return bool(eligible(candidates)) and not eligible(others)


class Router:
    """Keeps for each service in each environment whose turn it is, until its instances change."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._prepared: dict[Place, _Prepared] = {}

    def route(
        self, fleet: Fleet, place: Place, policy: Policy, *, key: str | None, zone: str | None, now: datetime
    ) -> Routed:
        """One instance of a service in an environment. Raises NoInstance."""
        service, environment = place
        try:
            choice = _pick(self._balancer(fleet, place, now), policy, key=key, zone=zone)
        except NothingToCall as error:
            raise NoInstance(f"no instance of {service} in environment {environment} can be called: {error}") from error
        member = fleet.member((*place, choice.instance.instance_id), now)
        assert member is not None  # noqa: S101 - it was there a line ago
        return Routed(member, (*choice.fallbacks, *((Fallback.KEPT,) if member.is_kept else ())))

    def _balancer(self, fleet: Fleet, place: Place, now: datetime) -> Balancer[Candidate]:
        fleet.advance(now)
        prepared, change = self._prepared.get(place), fleet.changes.of_service(place[0])
        if prepared is not None and prepared.change == change:
            return prepared.balancer
        members = fleet.members(place[0], now)
        candidates = [Candidate.of(member) for member in members if member.instance.environment == place[1]]
        if not candidates:
            self._prepared.pop(place, None)  # anybody may ask for names that nobody has
            return Balancer(candidates, self._draw)
        # Somebody else's change, or one that routing does not look at, must not begin the turns anew.
        if prepared is not None and list(prepared.balancer.instances) == candidates:
            balancer = prepared.balancer
        else:
            balancer = Balancer(candidates, self._draw)
        self._prepared[place] = _Prepared(change, balancer)
        return balancer


def _pick(balancer: Balancer[Candidate], policy: Policy, *, key: str | None, zone: str | None) -> Choice[Candidate]:
    if policy is Policy.CONSISTENT_HASH and key is not None and balancer.eligible:
        # A ring for thousands would hold up everybody else while it is made, after every change.
        return Choice(owner(balancer.eligible, key), balancer.fallbacks)
    return balancer.pick(policy, key=key, zone=zone)
