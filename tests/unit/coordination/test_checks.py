"""What checks come to, where they go, and whose they are."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.connections.health_probe import Probed
from central_hub.connections.pinned_request import Target
from central_hub.coordination.check_result import COUNTS_FOR, known, observe
from central_hub.coordination.check_schedule import INTERVAL_SECONDS, CheckSchedule, checker_of
from central_hub.coordination.check_target import has_target, target_of
from central_hub.coordination.fleet import Fleet
from central_hub.coordination.registry import merged, renewed, state_of
from central_hub.storage.instance_values import Beat, Check, Description, Key
from central_hub_client.wire import HealthState
from tests.unit.coordination.fleet_members import NOW, beats, instance, states

PASSED = Probed(True, None, 3.5)
FAILED = Probed(False, "answered 500", 2.5)
UNMEASURED = Probed(None, "not asked")
FAILS = Check(HealthState.UNHEALTHY, 0, "answered 500", NOW, 2.5)


def after(*results: Probed) -> Check | None:
    check = None
    for number, probed in enumerate(results):
        check = observe(check, probed, NOW + timedelta(seconds=number))
    return check


def told(*results: Probed) -> list[str]:
    found = [after(*results[: number + 1]) for number in range(len(results))]
    return [str(check.state) if check is not None else "" for check in found]


def test_three_failures_in_a_row_count_and_two_successes_end_it() -> None:
    assert told(PASSED, FAILED, FAILED, FAILED, FAILED, PASSED, FAILED, PASSED, PASSED, FAILED) == (
        "healthy degraded degraded unhealthy unhealthy unhealthy unhealthy unhealthy healthy degraded".split()
    )
    assert told(FAILED, FAILED, PASSED, FAILED, FAILED, FAILED)[-2:] == ["degraded", "unhealthy"]


def test_a_result_is_told_as_it_was() -> None:
    check = observe(None, FAILED, NOW)
    assert (check.reason, check.at, check.latency_ms) == ("answered 500", NOW, 2.5)


@given(st.lists(st.sampled_from([True, False]), min_size=1, max_size=30))
def test_the_verdict_follows_from_the_last_run_that_was_long_enough(results: list[bool]) -> None:
    check = after(*(PASSED if ok else FAILED for ok in results))
    assert check is not None
    is_unhealthy = False
    for number in range(1, len(results) + 1):
        if results[:number][-3:] == [False] * 3:
            is_unhealthy = True
        elif results[:number][-2:] == [True] * 2:
            is_unhealthy = False
    assert (check.state is HealthState.UNHEALTHY) == is_unhealthy
    if not is_unhealthy:
        assert (check.state is HealthState.HEALTHY) == results[-1]


def test_where_nothing_is_measured_nothing_is_known() -> None:
    assert told(FAILED, FAILED, FAILED, UNMEASURED, FAILED, FAILED)[3:] == ["None", "degraded", "degraded"]


@given(states)
def test_a_failing_check_refutes_who_says_that_it_can_be_called(said: HealthState) -> None:
    found = instance(state=said, check=FAILS)
    callable_ = said in (HealthState.HEALTHY, HealthState.DEGRADED)
    assert state_of(found, NOW) is (HealthState.UNHEALTHY if callable_ else said)
    assert state_of(found, NOW + timedelta(seconds=30)) is HealthState.EXPIRED


@given(states, st.sampled_from([None, HealthState.HEALTHY, HealthState.DEGRADED]))
def test_any_other_check_leaves_an_instance_as_it_says(said: HealthState, found: HealthState | None) -> None:
    assert state_of(instance(state=said, check=Check(found, 1, None, NOW, None)), NOW) is said
    assert state_of(instance(state=said), NOW) is said


def test_an_old_result_says_nothing() -> None:
    found = instance(lease_seconds=3600, check=FAILS)
    last = NOW + COUNTS_FOR - timedelta(microseconds=1)
    assert state_of(found, last) is HealthState.UNHEALTHY
    assert state_of(found, NOW + COUNTS_FOR) is HealthState.HEALTHY
    assert known(FAILS, last) is FAILS
    assert known(FAILS, NOW + COUNTS_FOR) is None


def checking(check: Check, generation: int = 2) -> Beat:
    return Beat(("billing", "default", "one"), generation, NOW, check=check)


def test_the_result_of_a_check_renews_no_lease_and_changes_nothing_else() -> None:
    found = instance(lease_seconds=10)
    assert renewed(found, checking(FAILS)) == instance(lease_seconds=10, check=FAILS)


@given(beats())
def test_a_heartbeat_and_a_check_go_together_in_either_order(beat: Beat) -> None:
    one, other = merged(checking(FAILS), beat), merged(beat, checking(FAILS))
    assert renewed(instance(), one) == renewed(instance(), other) == renewed(renewed(instance(), beat), checking(FAILS))


def test_whoever_follows_the_fleet_hears_of_a_check_that_counts_and_of_its_end() -> None:
    fleet = Fleet(0.5)
    fleet.put(instance(lease_seconds=3600))

    def state(seconds: float = 0) -> tuple[HealthState, int]:
        member = fleet.member(("billing", "default", "one"), NOW + timedelta(seconds=seconds))
        assert member is not None
        return member.state, fleet.changes.last

    assert state() == (HealthState.HEALTHY, 1)
    fleet.beat(checking(Check(HealthState.DEGRADED, 1, "answered 500", NOW, 1.0)))
    assert state() == (HealthState.HEALTHY, 1)
    fleet.beat(checking(FAILS))
    assert state() == (HealthState.UNHEALTHY, 2)
    fleet.put(instance(lease_seconds=3600, check=FAILS, change=2))
    assert state(59) == (HealthState.UNHEALTHY, 2)
    assert state(60) == (HealthState.HEALTHY, 3)


def test_a_check_does_not_revive_an_instance_that_fell_silent() -> None:
    fleet = Fleet(0.5)
    fleet.put(instance())
    late = NOW + timedelta(seconds=40)
    key = ("billing", "default", "one")
    assert [member.state for member in fleet.members("billing", late)] == [HealthState.EXPIRED]
    before = fleet.changes.last
    fleet.beat(Beat(key, 2, NOW, check=Check(HealthState.HEALTHY, 0, None, late, 1.0)))
    assert [member.state for member in fleet.members("billing", late)] == [HealthState.EXPIRED]
    assert fleet.changes.last == before


@pytest.mark.parametrize(
    ("description", "target"),
    [
        (Description(host="10.0.0.7", port=8080, health_endpoint="/health?a=1#x"), "http 10.0.0.7 8080 /health?a=1"),
        (Description(host="10.0.0.7", health_endpoint="/"), "http 10.0.0.7 80 /"),
        (Description(host="a-1.example", protocol="https", health_endpoint="/h"), "https a-1.example 443 /h"),
        (Description(host="::1", port=1, health_endpoint="//evil.example/h"), "http ::1 1 //evil.example/h"),
        (Description(host="[::1]", port=1, health_endpoint="http://[::1]:9/h"), "http ::1 9 /h"),
        (Description(host="A.example", port=1, health_endpoint="https://a.EXAMPLE"), "https A.example 443 /"),
        (Description(host="h", protocol="grpc", health_endpoint="http://h:8081/h?x"), "http h 8081 /h?x"),
    ],
)
def test_a_health_endpoint_is_a_path_or_a_url_on_the_host(description: Description, target: str) -> None:
    found = target_of(description)
    assert has_target(description)
    assert f"{found.scheme} {found.host} {found.port} {found.path}" == target
    assert isinstance(found, Target)


@pytest.mark.parametrize(
    ("description", "why"),
    [
        (Description(host="h", health_endpoint="http://other/h"), "another host"),
        (Description(host="h", health_endpoint="http://h@other/h"), "credentials"),
        (Description(host="h", health_endpoint="http://u:p@h/h"), "credentials"),
        (Description(host="h", health_endpoint="http://h:99999/h"), "not a URL"),
        (Description(host="h", health_endpoint="http://[h/h"), "not a URL"),
        (Description(host="h", health_endpoint="ftp://h/h"), "neither a path nor a URL"),
        (Description(host="h", health_endpoint="health"), "neither a path nor a URL"),
        (Description(host="h", health_endpoint="http:///h"), "neither a path nor a URL"),
        (Description(host="h", protocol="grpc", health_endpoint="/h"), "grpc"),
        (Description(host="a/b", health_endpoint="/h"), "neither a name nor an address"),
        (Description(host="h:80", health_endpoint="/h"), "neither a name nor an address"),
        (Description(host="u@h", health_endpoint="/h"), "neither a name nor an address"),
    ],
)
def test_whatever_else_is_not_asked(description: Description, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        target_of(description)


@pytest.mark.parametrize("description", [Description(host="h"), Description(health_endpoint="/h")])
def test_without_host_or_endpoint_there_is_nothing_to_ask(description: Description) -> None:
    assert not has_target(description)


KEYS: list[Key] = [("billing", "default", f"i{number}") for number in range(500)]


def test_each_instance_is_checked_by_one_replica_and_each_replica_has_its_share() -> None:
    replicas = ["a", "b", "c"]
    shares = Counter(checker_of(key, replicas) for key in KEYS)
    assert all(100 < shares[replica] < 240 for replica in replicas)
    assert [checker_of(key, reversed(replicas)) for key in KEYS] == [checker_of(key, replicas) for key in KEYS]
    for key in KEYS:
        before = checker_of(key, replicas)
        assert before == "a" or checker_of(key, ["b", "c"]) == before


def test_each_is_due_once_an_interval_and_not_all_at_once() -> None:
    draws = iter([number / 997 % 1 for number in range(0, 100_000, 7)])
    schedule = CheckSchedule("a", lambda: next(draws))
    begun: Counter[Key] = Counter()
    most = 0
    for tick in range(240):
        due = schedule.due(KEYS, tick / 2)
        most = max(most, len(due))
        for key in due:
            schedule.begun(key, tick / 2)
            begun[key] += 1
    assert most < 150
    assert all(10 <= begun[key] <= 14 for key in KEYS)


def test_the_instances_of_a_dead_replica_are_taken_over_within_half_an_interval() -> None:
    schedule = CheckSchedule("a", lambda: 0.999)
    schedule.share_with(["b"])
    schedule.due(KEYS, 0)
    mine = [key for key in KEYS if checker_of(key, ["a", "b"]) == "a"]
    assert set(schedule.due(KEYS, INTERVAL_SECONDS)) == set(mine)
    for key in mine:
        schedule.begun(key, INTERVAL_SECONDS)
    schedule.share_with([])
    assert schedule.due(KEYS, INTERVAL_SECONDS) == []
    assert set(schedule.due(KEYS, 1.5 * INTERVAL_SECONDS)) == set(KEYS) - set(mine)


def test_an_instance_that_is_gone_is_forgotten() -> None:
    schedule = CheckSchedule("a", lambda: 0.0)
    assert schedule.due(KEYS[:2], 0) == KEYS[:2]
    assert schedule.due(KEYS[1:2], 0) == KEYS[1:2]
