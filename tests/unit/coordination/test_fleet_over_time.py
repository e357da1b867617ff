"""What time does to the fleet: leases run out, instances are forgotten or kept, and each change is counted once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from central_hub.coordination.fleet import Fleet
from central_hub.coordination.registry import REMEMBERED_FOR
from central_hub.storage.instance_values import Beat, Drain, Instance, Key
from central_hub_client.wire import HealthState
from tests.unit.coordination.fleet_members import NOW, instance

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


def key(name: str) -> Key:
    return "billing", "default", name


def fleet_of(*names: str, share: float = 0.5) -> Fleet:
    fleet = Fleet(share)
    for name in names:
        fleet.put(instance(instance_id=name))
    fleet.advance(NOW)
    return fleet


def beat(fleet: Fleet, name: str, after: timedelta, state: HealthState | None = None) -> None:
    fleet.beat(Beat(key(name), 2, NOW + after, state))


def states(fleet: Fleet, after: timedelta) -> dict[str, str]:
    shown = {True: "kept", False: ""}
    return {
        member.instance.instance_id: f"{shown[member.is_kept]} {member.state}".strip()
        for member in fleet.members("billing", NOW + after)
    }


def changed(fleet: Fleet, number: int) -> set[str]:
    return {name for _, _, name in fleet.changes.since("billing", number)}


def test_a_lease_that_runs_out_is_a_change_and_a_heartbeat_is_none() -> None:
    fleet = fleet_of("a", "b")
    began = fleet.changes.last
    beat(fleet, "a", 20 * SECOND)
    fleet.advance(NOW + LEASE - SECOND)
    assert fleet.changes.last == began
    fleet.advance(NOW + LEASE)
    assert changed(fleet, began) == {"b"}
    assert states(fleet, LEASE) == {"a": "healthy", "b": "expired"}
    assert fleet.changes.of_service("billing") == fleet.changes.last
    assert fleet.changes.services_since(began) == ["billing"]


def test_who_is_heard_again_is_a_change_and_expires_again_later() -> None:
    fleet = fleet_of("a", "b")
    fleet.advance(NOW + LEASE)
    began = fleet.changes.last
    beat(fleet, "a", LEASE + SECOND)
    assert changed(fleet, began) == {"a"}
    assert states(fleet, LEASE + SECOND) == {"a": "healthy", "b": "expired"}
    assert states(fleet, 2 * LEASE + SECOND) == {"a": "expired", "b": "expired"}


def test_a_drain_is_a_change_and_who_is_drained_is_not_kept() -> None:
    fleet = fleet_of("a", "b", "c", "d", "e", share=0.2)
    began = fleet.changes.last
    fleet.put(instance(instance_id="e", change=2, drain=Drain("ops", NOW)))
    assert changed(fleet, began) == {"e"}
    fleet.advance(NOW + LEASE)
    assert states(fleet, LEASE) == {**dict.fromkeys("abcd", "kept healthy"), "e": "expired"}
    fleet.put(instance(instance_id="d", change=2, drain=Drain("ops", NOW)))
    assert states(fleet, LEASE)["d"] == "expired"


def test_another_state_is_a_change_and_the_same_is_none() -> None:
    fleet = fleet_of("a")
    began = fleet.changes.last
    beat(fleet, "a", SECOND, HealthState.HEALTHY)
    assert changed(fleet, began) == set()
    beat(fleet, "a", SECOND, HealthState.DEGRADED)
    assert changed(fleet, began) == {"a"}


def test_what_another_replica_wrote_is_a_change_only_where_callers_see_it() -> None:
    fleet = fleet_of("a")
    began = fleet.changes.last
    fleet.put(instance(instance_id="a", leased_at=NOW + SECOND, seen_at=NOW + SECOND, change=2))
    assert changed(fleet, began) == set()
    fleet.put(instance(instance_id="a", state=HealthState.UNHEALTHY, change=3))
    fleet.put(instance(instance_id="b", change=1))
    assert changed(fleet, began) == {"a", "b"}
    fleet.put(instance(instance_id="a", deregistered_at=NOW, change=4))
    assert states(fleet, SECOND) == {"b": "healthy"}


def test_the_silent_are_forgotten_after_an_hour_and_that_is_a_change() -> None:
    fleet = fleet_of("a")
    fleet.advance(NOW + LEASE)
    began = fleet.changes.last
    assert states(fleet, LEASE + REMEMBERED_FOR - SECOND) == {"a": "expired"}
    assert changed(fleet, began) == set()
    assert states(fleet, LEASE + REMEMBERED_FOR) == {}
    assert changed(fleet, began) == {"a"}
    assert fleet.services == []
    fleet.forget()
    assert changed(fleet, 0) == set()


def test_a_goodbye_is_remembered_so_that_an_older_look_does_not_undo_it() -> None:
    fleet = fleet_of("a")
    fleet.put(instance(instance_id="a", deregistered_at=NOW, change=5))
    fleet.put(instance(instance_id="a", change=4))
    assert states(fleet, SECOND) == {}
    fleet.advance(NOW + REMEMBERED_FOR)
    assert fleet.services == []


def test_a_fleet_that_falls_silent_stays_as_it_was_until_it_is_heard_again() -> None:
    fleet = fleet_of(*"abcd")
    began = fleet.changes.last
    assert states(fleet, LEASE) == dict.fromkeys("abcd", "kept healthy")
    assert fleet.kept == {("billing", "default"): 4}
    assert changed(fleet, began) == set("abcd")
    for name in "ab":
        beat(fleet, name, LEASE + SECOND)
    assert states(fleet, LEASE + SECOND) == {"a": "healthy", "b": "healthy", "c": "expired", "d": "expired"}
    assert fleet.kept == {}


@pytest.mark.parametrize("way", ["by heartbeats", "from the store"])
def test_those_who_are_heard_before_their_leases_end_let_the_silent_expire(way: str) -> None:
    fleet, later = fleet_of(*"ab"), 10 * SECOND
    rows = [instance(instance_id=name, leased_at=NOW + later, seen_at=NOW + later) for name in "cde"]
    for row in rows:
        fleet.put(row)
    assert states(fleet, LEASE) == {"a": "kept healthy", "b": "kept healthy", **dict.fromkeys("cde", "healthy")}
    for row in rows:
        if way == "by heartbeats":
            beat(fleet, row.instance_id, LEASE + SECOND)
        else:
            fleet.put(replace(row, leased_at=NOW + LEASE + SECOND, change=2))
    now = LEASE + 2 * SECOND
    assert states(fleet, now) == {"a": "expired", "b": "expired", **dict.fromkeys("cde", "healthy")}
    # As a replica sees it that has just started.
    started = Fleet(0.5)
    started.replace(fleet.of_service("billing", NOW + now))
    assert states(started, now) == states(fleet, now)


def test_others_environments_and_services_are_not_kept_with_them() -> None:
    fleet = fleet_of(*"abcd")
    fleet.put(instance(instance_id="x", environment="staging"))
    fleet.put(instance(instance_id="y", service="ticks"))
    assert states(fleet, LEASE) == dict.fromkeys("abcd", "kept healthy") | {"x": "expired"}
    [alone] = fleet.members("ticks", NOW + LEASE)
    assert alone.state is HealthState.EXPIRED


def test_a_lease_that_begins_anew_takes_back_that_it_ran_out() -> None:
    fleet = fleet_of("a")
    fleet.advance(NOW + LEASE)
    fleet.put(instance(instance_id="a", leased_at=NOW + LEASE, change=2))
    assert states(fleet, LEASE + SECOND) == {"a": "healthy"}
    assert states(fleet, 2 * LEASE) == {"a": "expired"}


def test_all_that_the_store_no_longer_has_is_gone_and_that_is_a_change() -> None:
    fleet = fleet_of("a", "b")
    began = fleet.changes.last
    fleet.replace([instance(instance_id="b")])
    assert changed(fleet, began) == {"a"}
    assert states(fleet, SECOND) == {"b": "healthy"}


def test_every_member_is_told_as_its_instance() -> None:
    fleet = fleet_of("a")
    member = fleet.member(key("a"), NOW)
    assert member is not None
    assert isinstance(member.instance, Instance)
    assert fleet.member(key("nobody"), NOW) is None
