"""Two replicas' views of the fleet come to the same, however writing, reading and heartbeats interleave."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from central_hub.coordination.fleet import Fleet
from central_hub.coordination.registry import REMEMBERED_FOR, heard, renewed
from central_hub.security.tokens import sha256
from central_hub.storage.instance_values import Beat, Instance, Key, Report
from central_hub_client.wire import HealthState
from tests.unit.coordination.fleet_members import NOW, beats, instance

KEY: Key = ("billing", "default", "one")


class Store:
    """What the table does, as far as it matters here."""

    def __init__(self) -> None:
        self.row = instance(generation=1)

    def register(self) -> Instance:
        self.row = instance(generation=self.row.generation + 1, change=self.row.change + 1)
        return self.row

    def write(self, taken: list[Beat]) -> list[tuple[Key, int]]:
        for beat in taken:
            if beat.generation == self.row.generation:
                self.row = replace(renewed(self.row, beat), change=self.row.change + 1)
                return [(self.row.key, self.row.change)]
        return []

    def tell(self, fleet: Fleet) -> None:
        """Let a replica look: it reads only what it does not know."""
        if not fleet.is_known(self.row.key, self.row.change):
            fleet.put(self.row)


operations = st.lists(
    st.tuples(
        st.sampled_from(["beat", "write", "lost", "fail", "look", "look-late", "register"]), st.integers(0, 1), beats()
    ),
    max_size=30,
)


@given(operations)
def test_replicas_agree_once_all_is_written_and_read(done: list[tuple[str, int, Beat]]) -> None:
    store, replicas = Store(), (Fleet(0.5), Fleet(0.5))
    for fleet in replicas:
        fleet.put(store.row)
    stale = store.row
    for operation, which, beat in done:
        fleet = replicas[which]
        match operation:
            case "beat":
                known = fleet.find(KEY, NOW)
                assert known is not None
                fleet.beat(heard(known, replace(beat, generation=known.generation)))
            case "write":
                for key, change in store.write(fleet.take_unwritten()):
                    fleet.written(key, change)
            case "lost":  # written, but the answer did not come
                taken = fleet.take_unwritten()
                store.write(taken)
                fleet.bring_back(taken)
            case "fail":
                taken = fleet.take_unwritten()
                fleet.bring_back(taken)
            case "look":
                store.tell(fleet)
                stale = store.row
            case "look-late":
                fleet.put(stale)  # a look that took its time: something later may be known
            case "register":
                fleet.put(store.register())
    for fleet in replicas:
        for key, change in store.write(fleet.take_unwritten()):
            fleet.written(key, change)
    for fleet in replicas:
        store.tell(fleet)
        assert fleet.find(KEY, NOW) == store.row
        assert fleet.unwritten == 0


@given(st.lists(beats(), max_size=8))
def test_what_is_not_written_yet_is_seen_at_once(told: list[Beat]) -> None:
    fleet, expected = Fleet(0.5), instance()
    fleet.put(expected)
    for beat in told:
        known = fleet.find(KEY, NOW)
        assert known is not None
        fleet.beat(heard(known, beat))
        expected = renewed(expected, heard(expected, beat))
        fleet.put(instance(change=2))  # the store has not heard of it
    found = fleet.find(KEY, NOW)
    assert found is not None
    if told:
        assert (found.state, found.stance, found.report) == (expected.state, expected.stance, expected.report)


def test_one_name_may_be_used_in_several_environments_and_services() -> None:
    fleet = Fleet(0.5)
    rows = [
        instance(environment=environment, service=service)
        for service in ("billing", "ticks")
        for environment in ("default", "staging")
    ]
    for row in rows:
        fleet.put(row)
    assert list(fleet.named("billing", "one", NOW)) == rows[:2]
    assert fleet.services == ["billing", "ticks"]
    assert fleet.of_service("ticks", NOW) == rows[2:]
    assert fleet.count(NOW) == 4


def test_who_said_goodbye_or_was_silent_too_long_is_not_spoken_of() -> None:
    fleet = Fleet(0.5)
    fleet.put(instance(instance_id="here"))
    fleet.put(instance(instance_id="gone", deregistered_at=NOW))
    fleet.put(instance(instance_id="old", leased_at=NOW - REMEMBERED_FOR - timedelta(seconds=30)))
    assert [found.instance_id for found in fleet.of_service("billing", NOW)] == ["here"]
    assert list(fleet.named("billing", "gone", NOW)) == []
    assert fleet.find(("billing", "default", "old"), NOW) is None
    assert fleet.count(NOW) == 1
    fleet.advance(NOW)
    assert fleet.find(("billing", "default", "old"), NOW - REMEMBERED_FOR) is None


def test_a_store_that_was_replaced_is_believed_whatever_was_known() -> None:
    fleet = Fleet(0.5)
    fleet.put(instance(generation=9, change=40, secret_sha256=sha256("later")))
    fleet.put(instance(instance_id="other"))
    fleet.replace([instance(generation=3, change=4, state=HealthState.DRAINING)])
    assert [found.generation for found in fleet.of_service("billing", NOW)] == [3]


def test_instances_that_report_the_same_keys_share_them_in_memory() -> None:
    fleet = Fleet(0.5)
    first, second = (instance(instance_id=name, report=Report(unread=("/a",))) for name in ("one", "two"))
    fleet.replace([first, second])
    fleet.beat(Beat(first.key, first.generation, NOW, report=Report(unread=("/b",))))
    fleet.beat(Beat(second.key, second.generation, NOW, report=Report(unread=("/b",))))
    one, two = fleet.of_service("billing", NOW)
    assert one.report == Report(unread=("/b",))
    assert one.report is two.report
