"""Why an instance is as it counts, in words."""

from datetime import timedelta

import pytest

from central_hub.coordination.fleet import Member
from central_hub.coordination.instance_health import reason_of
from central_hub.coordination.registry import state_of
from central_hub.storage.instance_values import Check, Description, Drain, Instance
from central_hub_client.wire import HealthState
from tests.unit.coordination.fleet_members import NOW, instance

FAILS = Check(HealthState.UNHEALTHY, 0, "answered 500", NOW, 2.5)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (instance(), None),
        (instance(state=HealthState.DEGRADED), "it says so itself"),
        (instance(state=HealthState.UNHEALTHY, check=FAILS), "it says so itself"),
        (instance(check=FAILS), "its health endpoint fails: answered 500"),
        (instance(state=HealthState.STARTING, check=FAILS), "it says so itself"),
        (instance(drain=Drain("alice", NOW)), "alice took it out of routing"),
        (instance(drain=Drain("alice", NOW, "a new disk"), check=FAILS), "alice took it out of routing: a new disk"),
        (instance(description=Description(weight=0)), "it is of weight 0, and is not called"),
        (
            instance(leased_at=NOW - timedelta(seconds=30), check=FAILS),
            "not heard of: its lease of 30 s ran out at 2026-11-23T14:00:00.000Z",
        ),
    ],
)
def test_the_reason_is_what_decided(found: Instance, reason: str | None) -> None:
    assert reason_of(Member(found, state_of(found, NOW), is_kept=False)) == reason


def test_one_that_fell_silent_with_too_many_others_is_told_as_such() -> None:
    found = Member(instance(), HealthState.HEALTHY, is_kept=True)
    assert reason_of(found) == "it fell silent together with too many others, and counts as it was last known"
