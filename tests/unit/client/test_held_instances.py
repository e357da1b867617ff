"""A list of instances is never emptied by silence, errors or age; what instances say themselves counts at once."""

import random
from dataclasses import replace

import pytest

from central_hub_client.errors import CentralHubError, Forbidden, HubUnavailable, HubUnreachable
from central_hub_client.held_config import Source
from central_hub_client.held_instances import RECOVERY_SECONDS, HeldInstances
from central_hub_client.routing.policy import NothingToCall, Policy
from central_hub_client.service_instance import ServiceInstance

AWAY = HubUnreachable("nobody answers")


def instance(name: str, state: str = "healthy") -> ServiceInstance:
    return ServiceInstance("billing", "default", name, state)


A, B = instance("a"), instance("b")
EXPIRED = [replace(A, state="expired"), replace(B, state="expired")]


def held(*instances: ServiceInstance) -> HeldInstances:
    made = HeldInstances("billing", "default", random.Random(5).random, fresh_seconds=30)
    if instances:
        made.take(instances, 0.0)
    return made


def called(of: HeldInstances) -> set[str]:
    try:
        return {of.balancer.pick().instance.instance_id for _ in range(20)}
    except NothingToCall:
        return set()


def test_at_first_nothing_is_known() -> None:
    of = held()
    status = of.status(5.0)
    assert (status.source, status.stale, status.age_seconds, of.is_known) == (None, True, None, False)
    assert called(of) == set()


def test_the_hubs_list_is_fresh_until_it_is_too_old() -> None:
    of = held(A, instance("c", "draining"))
    fresh, old = of.status(10.0), of.status(31.0)
    assert (fresh.source, fresh.stale, fresh.age_seconds) == (Source.HUB, False, 10.0)
    assert (fresh.instances, fresh.eligible, fresh.error) == (2, 1, None)
    assert old.stale


@pytest.mark.parametrize("error", [AWAY, HubUnavailable("starting"), Forbidden("no")])
def test_whatever_fails_nothing_is_taken_away_and_it_is_said(error: CentralHubError) -> None:
    of = held(A, B)
    for now in (10.0, 1e6):
        of.fail(error, now)
        assert called(of) == {"a", "b"}
        status = of.status(now)
        assert (status.stale, status.error_code, status.error) == (True, error.code, f"{error.code}: {error}")
    of.take([A], 1e6 + 1)
    assert called(of) == {"a"}
    assert not of.status(1e6 + 1).stale


@pytest.mark.parametrize("listed", [[], EXPIRED, EXPIRED[:1]])
def test_a_hub_that_was_away_and_knows_nobody_does_not_empty_the_list(listed: list[ServiceInstance]) -> None:
    of = held(A, B)
    of.fail(AWAY, 100.0)
    for now in (101.0, 111.0, 100.0 + RECOVERY_SECONDS - 1):
        of.take(listed, now)
        assert called(of) == {"a", "b"}
        status = of.status(now)
        assert (status.is_kept, status.stale) == (True, True)
    of.take([A, *EXPIRED[1:]], 150.0)
    assert called(of) == {"a"}
    assert not of.status(150.0).is_kept


@pytest.mark.parametrize("listed", [[], EXPIRED])
def test_it_is_believed_once_the_instances_had_the_time_to_be_heard_again(listed: list[ServiceInstance]) -> None:
    of = held(A, B)
    of.fail(AWAY, 100.0)
    of.take(listed, 101.0)
    of.take(listed, 100.0 + RECOVERY_SECONDS)
    assert called(of) == set()
    assert not of.status(200.0).is_kept


@pytest.mark.parametrize("listed", [[], EXPIRED])
def test_a_hub_that_was_there_all_the_time_is_believed_at_once(listed: list[ServiceInstance]) -> None:
    of = held(A, B)
    of.fail(Forbidden("the token was revoked for a moment"), 5.0)
    of.take(listed, 10.0)
    assert called(of) == set()


def test_who_says_itself_that_it_goes_is_not_kept() -> None:
    of = held(A, B)
    of.fail(AWAY, 100.0)
    of.take([replace(A, state="draining"), EXPIRED[1]], 101.0)
    assert called(of) == {"b"}
    of.take([replace(A, state="draining"), replace(B, state="unhealthy")], 111.0)
    assert called(of) == set()


def test_what_an_earlier_run_left_is_used_until_the_hub_answers() -> None:
    of = held()
    of.restore([A], -3_600.0)
    status = of.status(0.0)
    assert (status.source, status.age_seconds, status.stale) == (Source.LAST_KNOWN_GOOD, 3_600.0, True)
    assert called(of) == {"a"}
    of.take([B], 1.0)
    of.restore([A], 0.0)
    assert called(of) == {"b"}


def test_turns_go_on_while_the_list_is_the_same() -> None:
    of = held(A, B, instance("c"))
    before = of.balancer
    assert not of.take([A, B, instance("c")], 10.0)
    assert of.balancer is before
    assert of.take([A, B], 20.0)


def test_a_new_list_is_ready_for_the_policies_that_are_in_use() -> None:
    of = held(A, B)
    of.balancer.pick(Policy.CONSISTENT_HASH, key="k")
    of.take([A, B, instance("c")], 1.0)
    ready = of.balancer
    assert ready.pick(Policy.CONSISTENT_HASH, key="k").instance in ready.eligible
    of.take([], 2.0)  # nobody to be ready for
    of.take([A], 3.0)
    assert called(of) == {"a"}


def test_calls_under_way_are_counted_and_turn_the_choice() -> None:
    of = held(A, B)

    def share_of_a() -> float:
        return sum(of.balancer.pick(Policy.RANDOM).instance == A for _ in range(2_000)) / 2_000

    with of.counting("a"):
        assert 0.2 < share_of_a() < 0.3  # only where it is drawn twice
        of.take([A, B, instance("c", "draining")], 1.0)
        assert 0.2 < share_of_a() < 0.3
    assert 0.45 < share_of_a() < 0.8  # it makes up for those that it was passed over
    with of.counting("b"):
        of.after_fork()  # the call under way is the parent's
        assert 0.45 < share_of_a() < 0.55


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ({}, None),
        ({"host": "10.0.0.7", "port": 8080}, "http://10.0.0.7:8080"),
        ({"host": "billing.internal", "protocol": "https"}, "https://billing.internal"),
        ({"host": "fd00::7", "port": 80, "protocol": "grpc"}, "grpc://[fd00::7]:80"),
    ],
)
def test_an_instance_knows_where_it_is_called(told: dict[str, str], url: str | None) -> None:
    assert ServiceInstance.from_json(A.to_json() | told).url == url


def test_what_a_later_hub_adds_to_an_instance_is_no_harm_and_what_is_wrong_is_refused() -> None:
    assert ServiceInstance.from_json(A.to_json() | {"colour": "red", "state": "of a later hub"}).state
    for wrong in ([], {}, A.to_json() | {"weight": "1"}, A.to_json() | {"port": True}, A.to_json() | {"state": None}):
        with pytest.raises(ValueError, match="instance"):
            ServiceInstance.from_json(wrong)
