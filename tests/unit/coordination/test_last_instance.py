"""Whether an instance is the last one that can be called."""

import pytest

from central_hub.coordination.fleet import Member
from central_hub.coordination.routing import would_leave_nobody
from central_hub.storage.instance_values import Description
from central_hub_client.wire import HealthState
from tests.unit.coordination.fleet_members import instance


def named(name: str, state: HealthState = HealthState.HEALTHY, weight: int = 1) -> Member:
    made = instance(instance_id=name, state=state, description=Description(weight=weight))
    return Member(made, state, is_kept=False)


@pytest.mark.parametrize(
    "others",
    [
        [],
        [named("two", HealthState.UNHEALTHY)],
        [named("two", HealthState.STARTING)],
        [named("two", HealthState.DRAINING)],
        [named("two", weight=0)],
    ],
)
def test_who_alone_can_be_called_is_the_last(others: list[Member]) -> None:
    assert would_leave_nobody([named("one"), *others], "one")


def test_a_degraded_one_is_better_than_nobody() -> None:
    assert not would_leave_nobody([named("one"), named("two", HealthState.DEGRADED)], "one")


@pytest.mark.parametrize("state", [HealthState.STARTING, HealthState.UNHEALTHY, HealthState.DRAINING])
def test_draining_who_is_not_called_anyway_takes_nobody_away(state: HealthState) -> None:
    assert not would_leave_nobody([named("one", state)], "one")
    assert not would_leave_nobody([named("two", state)], "one")
