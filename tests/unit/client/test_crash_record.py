"""When a revision is held to have crashed an instance, and when it is not."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub_client.crash_record import REMEMBERED, WINDOW_SECONDS, CrashRecord, Revision, RunRecord
from tests.unit.client.objects import config_object

FIRST, SECOND, THIRD = (Revision("hub", 1, number) for number in (1, 2, 3))


def crashed(record: RunRecord, revision: Revision, *starts: float, build: str = "b") -> RunRecord:
    """Runs on `revision` that end without a word; the process is started at these times."""
    for now in starts:
        record = record.begun(build, now).running_on(revision)
    return record


def proven(revision: Revision, build: str = "b") -> RunRecord:
    return RunRecord().begun(build, 0.0).running_on(revision).settled().ended(0.0)


def test_the_second_crash_within_the_window_quarantines_the_revision() -> None:
    once = crashed(proven(FIRST), SECOND, 100.0).begun("b", 110.0)
    assert (once.quarantined, once.candidate) == ((), SECOND)
    twice = once.running_on(SECOND).begun("b", 120.0)
    assert (twice.quarantined, twice.candidate, twice.proven) == ((SECOND,), None, FIRST)


def test_crashes_that_are_further_apart_do_not_count_together() -> None:
    record = crashed(proven(FIRST), SECOND, 100.0, 110.0, 110.0 + WINDOW_SECONDS + 1)
    assert record.begun("b", 300.0).quarantined == ()


def test_a_clock_that_was_set_back_does_not_bring_crashes_together() -> None:
    record = crashed(proven(FIRST), SECOND, 1000.0, 1010.0)
    assert record.begun("b", 500.0).quarantined == ()


def test_an_end_in_good_order_is_no_crash() -> None:
    record = proven(FIRST)
    for now in range(10):
        record = record.begun("b", now).running_on(SECOND).ended(now)
    assert record.begun("b", 10.0).quarantined == ()


def test_what_short_runs_have_ended_well_on_is_not_blamed_for_later_crashes() -> None:
    record = proven(FIRST).begun("b", 1.0).running_on(SECOND).ended(2.0)
    record = crashed(record, SECOND, 100.0, 110.0).begun("b", 120.0)
    assert (record.quarantined, record.proven) == ((), SECOND)


def test_a_run_that_was_ended_just_now_proves_nothing() -> None:
    record = proven(FIRST).begun("b", 1.0).running_on(SECOND).ended(2.0)
    assert crashed(record, SECOND, 3.0, 4.0).begun("b", 70.0).quarantined == ()
    assert crashed(record, SECOND, 3.0, 4.0).begun("b", 5.0).quarantined == (SECOND,)


def test_what_has_run_for_long_enough_is_not_blamed_for_later_crashes() -> None:
    record = proven(FIRST).begun("b", 0.0).running_on(SECOND).settled()
    for now in (100.0, 101.0, 102.0):
        record = record.begun("b", now).running_on(SECOND)
    assert (record.quarantined, record.proven) == ((), SECOND)


def test_a_new_build_may_run_what_killed_the_old_one() -> None:
    record = crashed(proven(FIRST), SECOND, 1.0, 2.0).begun("b", 3.0)
    assert record.quarantined == (SECOND,)
    assert record.begun("c", 4.0) == RunRecord(build="c")


def test_a_build_that_never_ran_another_revision_may_itself_be_what_crashes() -> None:
    record = crashed(RunRecord(), FIRST, 1.0, 2.0, 3.0, 4.0).begun("b", 5.0)
    assert record.quarantined == ()


@pytest.mark.parametrize("ends", [False, True])
def test_a_revision_that_was_replaced_before_it_crashed_is_one_to_go_back_to(ends: bool) -> None:
    record = RunRecord().begun("b", 0.0).running_on(FIRST)
    record = record.ended(0.0).begun("b", 1.0) if ends else record
    record = crashed(record.running_on(SECOND), SECOND, 2.0).begun("b", 3.0)
    assert (record.quarantined, record.proven) == ((SECOND,), FIRST)


def test_a_revision_that_crashed_and_was_replaced_at_the_next_start_is_none_to_go_back_to() -> None:
    record = crashed(proven(FIRST), SECOND, 1.0).begun("b", 2.0).running_on(THIRD)
    assert (record.proven, record.candidate) == (FIRST, THIRD)


def test_going_back_to_what_is_proven_keeps_the_quarantine() -> None:
    record = crashed(proven(FIRST), SECOND, 1.0, 2.0).begun("b", 3.0).running_on(FIRST)
    for now in (4.0, 5.0, 6.0):
        record = record.begun("b", now).running_on(FIRST)
    assert (record.quarantined, record.proven, record.candidate) == ((SECOND,), FIRST, None)


def test_a_start_that_begins_with_what_is_proven_forgets_no_crash() -> None:
    record = proven(FIRST)
    for now in (1.0, 2.0):
        record = record.begun("b", now).running_on(FIRST).running_on(SECOND)
    assert record.begun("b", 3.0).quarantined == (SECOND,)


def test_the_next_revision_can_be_quarantined_too() -> None:
    record = crashed(proven(FIRST), SECOND, 1.0, 2.0).begun("b", 3.0)
    assert crashed(record.running_on(THIRD), THIRD, 4.0).begun("b", 5.0).quarantined == (THIRD, SECOND)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begun"), st.floats(0, 200)),
        st.tuples(st.just("running_on"), st.sampled_from([FIRST, SECOND, THIRD])),
        st.tuples(st.just("settled")),
        st.tuples(st.just("ended"), st.floats(0, 200)),
    ),
    max_size=60,
)


@given(STEPS)
def test_what_is_proven_and_what_is_on_trial_are_never_the_same(steps: list[tuple[str, float | Revision]]) -> None:
    record = RunRecord().begun("b", 0.0)
    for name, *arguments in steps:
        if name == "settled" and not record.is_on_trial:
            continue
        record = record.begun("b", *arguments) if name == "begun" else getattr(record, name)(*arguments)
        assert record.candidate is None or record.candidate != record.proven
        assert len(record.quarantined) <= REMEMBERED
        assert RunRecord.from_json(json.loads(json.dumps(asdict(record)))) == record


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"build": 1}', b"\xff", b'{"candidate": [1]}', b"[" * 100_000]
)
def test_a_damaged_record_is_as_none(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run.json").write_bytes(content)
    crashes = CrashRecord()
    crashes.open(tmp_path, "b")
    assert not crashes.is_quarantined(config_object(1))
    assert "run.json is not used" in caplog.text
    crashes.running_on(config_object(1))
    crashes.close(in_good_order=True)
    assert json.loads((tmp_path / "run.json").read_bytes())["running"] is None


def test_the_record_is_kept_from_process_to_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for revision in (1, 2, 2):
        crashes = CrashRecord()
        crashes.open(tmp_path, "b")
        crashes.running_on(config_object(revision))
        crashes.close(in_good_order=revision == 1)
    crashes = CrashRecord()
    crashes.open(tmp_path, "b")
    assert crashes.is_quarantined(config_object(2))
    assert not crashes.is_quarantined(config_object(1))
    assert "revision 2 is not used again" in caplog.text


def test_where_nothing_can_be_written_nothing_is_held_against_a_revision(tmp_path: Path) -> None:
    for _ in range(3):
        crashes = CrashRecord()
        crashes.open(tmp_path / "missing", "b")
        crashes.running_on(config_object(2))
        assert not crashes.is_quarantined(config_object(2))
