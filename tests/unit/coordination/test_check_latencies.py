"""Latencies of checks, held against percentiles that are computed from all of them."""

from datetime import datetime, timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.coordination.check_latencies import ACCURACY, LEAST_MS, MOST_MS, WINDOWS, CheckLatencies, Percentiles
from central_hub.storage.instance_values import Check, Instance
from central_hub_client.wire import HealthState
from tests.unit.coordination.fleet_members import NOW, instance

PLACE = ("billing", "default")
NOTHING = Percentiles(0, None, None, None)
latencies = st.floats(LEAST_MS, MOST_MS)


def checked(latency_ms: float | None, at: datetime = NOW, name: str = "one") -> Instance:
    return instance(instance_id=name, check=Check(HealthState.HEALTHY, 0, None, at, latency_ms))


def see(kept: CheckLatencies, *instances: Instance, now: datetime = NOW) -> None:
    kept.see({found.key: found for found in instances}, now)


def of(samples: list[float]) -> Percentiles:
    kept = CheckLatencies()
    see(kept, *(checked(latency, name=f"i{number}") for number, latency in enumerate(samples)))
    return kept.of_service(PLACE, NOW)[1]


def exact(samples: list[float], percent: int) -> float:
    return sorted(samples)[ceil(percent * len(samples) / 100) - 1]


@given(st.lists(latencies, min_size=1, max_size=300))
def test_a_percentile_is_as_accurate_as_promised(samples: list[float]) -> None:
    found = of(samples)
    assert found.samples == len(samples)
    for percent, estimate in ((50, found.p50), (95, found.p95), (99, found.p99)):
        assert estimate == pytest.approx(exact(samples, percent), rel=ACCURACY * (1 + 1e-9))


@given(st.floats(0, 10**9, allow_nan=False))
def test_one_latency_is_all_its_percentiles_within_the_bounds(latency: float) -> None:
    bounded = min(max(latency, LEAST_MS), MOST_MS)
    found = of([latency])
    assert found.p50 == found.p95 == found.p99 == pytest.approx(bounded, rel=ACCURACY * (1 + 1e-9))


def test_without_an_answer_there_is_no_percentile() -> None:
    kept = CheckLatencies()
    assert kept.of_service(PLACE, NOW) == dict.fromkeys(WINDOWS, NOTHING)
    see(kept, instance(instance_id="other"), checked(None))
    assert kept.of_service(PLACE, NOW) == dict.fromkeys(WINDOWS, NOTHING)


@given(st.lists(st.tuples(st.integers(0, 90 * 60), latencies), min_size=1, max_size=60, unique_by=lambda each: each[0]))
def test_a_window_holds_its_minutes_and_the_one_that_runs(results: list[tuple[int, float]]) -> None:
    kept = CheckLatencies()
    for age, latency in sorted(results, reverse=True):
        at = NOW - timedelta(seconds=age)
        see(kept, checked(latency, at), now=at)
        see(kept, checked(latency, at), now=at + timedelta(seconds=1))
    kept.forget(NOW)
    found = kept.of_service(PLACE, NOW)
    for window in WINDOWS:
        # NOW is the beginning of a minute.
        inside = [latency for age, latency in results if age <= window * 60]
        assert found[window].samples == len(inside)
        if inside:
            assert found[window].p95 == pytest.approx(exact(inside, 95), rel=ACCURACY * (1 + 1e-9))


def test_a_result_counts_once_however_often_it_is_seen_and_old_ones_never() -> None:
    kept = CheckLatencies()
    for _ in range(3):
        see(kept, checked(5.0))
    see(kept, checked(5.0, NOW - timedelta(seconds=1)))
    assert kept.of_service(PLACE, NOW)[1].samples == 1
    see(kept, checked(5.0, NOW - timedelta(hours=2), name="other"))
    assert kept.of_service(PLACE, NOW)[60].samples == 1


def test_services_and_environments_are_apart() -> None:
    kept = CheckLatencies()
    see(kept, checked(5.0), instance(service="orders", check=checked(7.0).check))
    assert kept.of_service(PLACE, NOW)[5].samples == kept.of_service(("orders", "default"), NOW)[5].samples == 1
    assert kept.of_service(("billing", "staging"), NOW)[5] == NOTHING


def test_what_is_kept_does_not_grow_with_the_number_of_checks() -> None:
    kept = CheckLatencies()
    size = 0
    for number in range(20_000):
        at = NOW + timedelta(seconds=number)
        see(kept, checked(1 + number % 2_000, at), now=at)
        if number % 60 == 0:
            kept.forget(at)
        if number == 5_000:
            size = sum(len(minute) for minute in kept._minutes[PLACE].values())
    assert len(kept._minutes[PLACE]) <= WINDOWS[-1] + 2
    assert sum(len(minute) for minute in kept._minutes[PLACE].values()) <= 1.2 * size
    assert kept.of_service(PLACE, NOW + timedelta(seconds=20_000))[60].samples <= 61 * 60
    see(kept)
    assert kept._seen == {}
    kept.forget(NOW + timedelta(days=1))
    assert kept._minutes == {}
