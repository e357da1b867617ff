"""A day of instances and hubs that crash, restart and lose each other, on a virtual clock; and days of hubs that have
a fault, which must not pass."""

import random
import time
from collections.abc import Callable, Iterable

import pytest

from central_hub.coordination import registry
from central_hub.errors import NotFound
from central_hub.storage.instance_values import Instance
from tests.faults.report import report
from tests.faults.simulated_day import PROTECT_SHARE, Day
from tests.faults.simulated_hub import Replica, Store


def test_some_hours_of_a_thousand_instances(seed: int, rng: random.Random) -> None:
    play(Day(rng, instances=1_000, hours=3), seed)


@pytest.mark.soak
def test_a_day_of_five_thousand_instances(seed: int, rng: random.Random) -> None:
    play(Day(rng, instances=5_000, hours=24), seed)


def play(day: Day, seed: int) -> None:
    began = time.process_time()
    day.play()
    report("a day of a fleet", seed=seed, processor_seconds=time.process_time() - began, **counted(day))
    assert day.violations == []
    # It was a day on which something happened.
    for what in ("crashes", "drains", "partitions", "hubs killed", "heartbeats refused", "checks"):
        assert day.counts[what] > 0, what


def counted(day: Day) -> dict[str, int]:
    return {what.replace(" ", "_"): count for what, count in sorted(day.counts.items())}


def judges_leases_while_it_is_deaf(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Replica, "as_of", lambda _replica, now: now)


def lets_leases_run_out_while_nobody_listens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Store, "_begin_anew", lambda _store, _deaf_since, _now: None)


def takes_any_heartbeat(patch: pytest.MonkeyPatch) -> None:
    def prove(candidates: Iterable[Instance], _generation: int, _secret: bytes) -> Instance:
        for candidate in candidates:
            return candidate
        raise NotFound("there is no such instance: register again")

    patch.setattr(registry, "prove", prove)


def misses_rows(patch: pytest.MonkeyPatch) -> None:
    read, draw = Replica._read, random.Random(1).random

    def read_most(replica: Replica, row: Instance) -> None:
        if draw() < 0.98:
            read(replica, row)

    patch.setattr(Replica, "_read", read_most)


def never_lets_a_lease_run_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("central_hub.coordination.fleet.state_of", registry.unleased_state)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (judges_leases_while_it_is_deaf, "has sent its heartbeats in time, and is expired"),
        (lets_leases_run_out_while_nobody_listens, "has sent its heartbeats in time, and is expired"),
        (takes_any_heartbeat, "a heartbeat of another incarnation"),
        (misses_rows, "the hubs do not agree"),
        (never_lets_a_lease_run_out, "is silent, and is healthy"),
    ],
)
def test_a_hub_with_a_fault_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    assert is_found(found)


@pytest.mark.parametrize(
    ("share", "found"), [(1.0, "went empty"), (0.0, "is kept, of which")], ids=["keeps nobody", "keeps everybody"]
)
def test_another_threshold_than_the_one_that_is_promised_is_found(share: float, found: str) -> None:
    assert is_found(found, share=share)


def is_found(sentence: str, share: float = PROTECT_SHARE) -> bool:
    """Whether it shows on one of a few days: not every day has every trouble."""
    for seed in range(4):
        day = Day(random.Random(seed), instances=300, hours=6, share=share)
        day.play()
        if any(sentence in violation for violation in day.violations):
            return True
    return False
