"""What replicas know of targets and write of them, with a store that is a dictionary and answers that get lost."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.health import observe
from central_hub.monitoring.infrastructure import ProbeSettings
from central_hub.monitoring.targets import REFRESH_SECONDS, Targets
from central_hub.storage.target_values import Target, Transition
from central_hub_client.wire import HealthState

START = datetime(2026, 11, 29, 12, tzinfo=UTC)
SETTINGS = ProbeSettings("tcp", interval_seconds=10, failures=2, successes=1)


class Store:
    """Rows by compare-and-set, and the transitions that came with them."""

    def __init__(self) -> None:
        self.rows: dict[str, Target] = {}
        self.transitions: list[Transition] = []

    def write(self, rows: list[Target], transitions: list[Transition]) -> set[str]:
        written = {row.name for row in rows if self._change(row.name) in (row.change - 1, None)}
        self.rows |= {row.name: row for row in rows if row.name in written}
        self.transitions += [each for each in transitions if each.target in written]
        return written

    def _change(self, name: str) -> int | None:
        return self.rows[name].change if name in self.rows else None


class Replica:
    def __init__(self, own_id: str, store: Store) -> None:
        self.own_id = own_id
        self.store = store
        self.targets = Targets()
        self.targets.keep(["db"], START, 0.0)
        self.is_deaf = True

    def probe(self, ok: bool, moment: float) -> None:
        before = self.targets.find("db")
        assert before is not None
        at = START + timedelta(seconds=moment)
        found, transition = observe(before, Probed(ok, None if ok else "refused"), SETTINGS, at)
        self.targets.found(replace(found, probed_by=self.own_id), transition, moment)

    def look(self, moment: float) -> None:
        now, rows = START + timedelta(seconds=moment), list(self.store.rows.values())
        if self.is_deaf:
            self.targets.take_all(rows, {"db"}, now, moment)
        for row in rows:
            if not self.targets.is_known(row.name, row.change):
                self.targets.take(row, now, moment)
        self.is_deaf = False

    def write(self, moment: float) -> None:
        rows, transitions = self.targets.to_write(moment)
        self.targets.written(self.store.write(rows, transitions), moment)

    def write_and_not_hear_of_it(self, moment: float) -> None:
        rows, transitions = self.targets.to_write(moment)
        self.store.write(rows, transitions)
        self.is_deaf = True


STEPS: dict[str, Callable[[Replica, float], None]] = {
    "passes": lambda replica, moment: replica.probe(True, moment),
    "fails": lambda replica, moment: replica.probe(False, moment),
    "looks": Replica.look,
    "turns": lambda replica, moment: (replica.look(moment), replica.write(moment))[1],
    "loses": lambda replica, moment: (replica.look(moment), replica.write_and_not_hear_of_it(moment))[1],
}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(sorted(STEPS))), max_size=80))
def test_the_stored_history_never_contradicts_itself(steps: list[tuple[str, str]]) -> None:
    store = Store()
    replicas = {name: Replica(name, store) for name in "ab"}
    for moment, (name, step) in enumerate(steps, 1):
        STEPS[step](replicas[name], float(moment))
    for before, after in pairwise(store.transitions):
        assert before.to_state is after.from_state
    if "db" in store.rows and store.transitions:
        assert store.rows["db"].state is store.transitions[-1].to_state
    for replica in replicas.values():
        replica.look(100.0)
        replica.write(100.0)
    for replica in replicas.values():
        replica.look(101.0)
    if "db" in store.rows:
        known = [replica.targets.find("db") for replica in replicas.values()]
        # When it was probed the other one is told now and then.
        assert len({(found.state, found.since, found.against, found.turns) for found in known if found}) == 1


def test_what_was_found_out_while_the_store_was_away_is_written_with_all_that_led_there() -> None:
    store = Store()
    replica = Replica("a", store)
    for moment, ok in enumerate([True, False, False, True], 1):
        replica.probe(ok, float(moment))
    replica.look(5.0)
    replica.write(5.0)
    assert [str(each.to_state) for each in store.transitions] == ["healthy", "degraded", "unhealthy", "healthy"]
    assert store.rows["db"].change == 1


def test_a_result_that_says_nothing_new_is_written_now_and_then() -> None:
    store = Store()
    replica = Replica("a", store)
    written = []
    for moment in range(1, 101):
        if moment % 10 == 1:
            replica.probe(True, float(moment))
        before = store.rows.get("db")
        replica.write(float(moment))
        if store.rows.get("db") != before:
            written.append(moment)
    assert written == [1, 31, 61, 91]
    assert REFRESH_SECONDS == 30


def test_what_another_replica_was_quicker_to_write_stands() -> None:
    store = Store()
    first, second = Replica("a", store), Replica("b", store)
    first.probe(True, 1.0)
    second.probe(False, 1.0)
    first.write(2.0)
    second.write(2.0)
    second.look(3.0)
    found = second.targets.find("db")
    assert found is not None
    assert (found.state, found.probed_by) == (HealthState.HEALTHY, "a")
    second.probe(False, 4.0)
    second.look(5.0)
    second.write(5.0)
    assert store.rows["db"].probed_by == "b"
    assert [str(each.to_state) for each in store.transitions] == ["healthy", "degraded"]


def test_what_is_gone_from_the_store_is_written_again() -> None:
    store = Store()
    replica = Replica("a", store)
    replica.probe(True, 1.0)
    replica.write(1.0)
    store.rows.clear()
    replica.is_deaf = True
    replica.look(2.0)
    replica.write(2.0)
    assert store.rows["db"].state is HealthState.HEALTHY


def test_what_others_probe_grows_old_by_a_clock_that_nobody_sets() -> None:
    targets = Targets()
    targets.keep(["db"], START, 0.0)
    row = Target("db", HealthState.HEALTHY, START, 0, (), None, 1.0, START, "b", 1)
    targets.take(row, START + timedelta(seconds=20), 1000.0)

    def counted(moment: float) -> HealthState:
        [(_, found)] = targets.counted({"db": SETTINGS}, START + timedelta(days=300), {"db": moment})
        return found.state

    assert counted(1000.0) is HealthState.HEALTHY
    assert counted(1039.0) is HealthState.HEALTHY
    assert counted(1041.0) is HealthState.EXPIRED
