"""What may replace what is held, and what is only a reason to ask."""

from dataclasses import replace

import pytest

from central_hub_client.acceptance import Heard, Known, Verdict, judge_answer, judge_bookmark, judge_message
from central_hub_client.wire import Position
from tests.unit.client.objects import HUB, SERVICE, bookmark, config_object

HELD = config_object(7)
KNOWN = Known(SERVICE, "default", HUB, HELD.position, HELD.hash, HELD.position)
NOTHING = Known(SERVICE, "default")


def test_the_next_revision_is_applied_whichever_way_it_comes() -> None:
    received = config_object(8, previous_revision=7)
    assert judge_answer(KNOWN, received).verdict is Verdict.APPLY
    assert judge_message(KNOWN, received).verdict is Verdict.APPLY


def test_a_client_without_anything_takes_the_first_good_object() -> None:
    received = config_object(8, previous_revision=3)
    assert judge_answer(NOTHING, received).verdict is Verdict.APPLY
    assert judge_message(NOTHING, received).verdict is Verdict.APPLY


def test_a_replica_that_is_behind_takes_nothing_back() -> None:
    assert judge_answer(KNOWN, config_object(6)).verdict is Verdict.IGNORE
    assert judge_answer(KNOWN, config_object(900, epoch=0)).verdict is Verdict.IGNORE
    assert judge_message(KNOWN, config_object(6)).verdict is Verdict.IGNORE


def test_the_hub_itself_may_open_a_new_epoch_with_a_lower_revision() -> None:
    decision = judge_answer(KNOWN, config_object(2, epoch=2))
    assert (decision.verdict, decision.resync) == (Verdict.APPLY, True)


def test_a_message_of_another_epoch_is_only_a_reason_to_ask() -> None:
    assert judge_message(KNOWN, config_object(2, epoch=2)).verdict is Verdict.FETCH


def test_another_hub_is_followed_when_it_answers_and_doubted_when_it_is_heard_on_the_bus() -> None:
    received = config_object(2, hub_id="hub-two")
    assert judge_answer(KNOWN, received).resync
    assert judge_message(KNOWN, received).verdict is Verdict.FETCH


def test_a_gap_is_fetched() -> None:
    assert judge_message(KNOWN, config_object(12, previous_revision=9)).verdict is Verdict.FETCH


def test_the_last_message_of_a_subject_supersedes_what_was_between() -> None:
    received = config_object(12, previous_revision=9)
    assert judge_message(KNOWN, received, is_last_of_subject=True).verdict is Verdict.APPLY


def test_a_message_from_before_what_is_verified_tells_nothing_new() -> None:
    known = replace(KNOWN, verified=Position(1, 20))
    assert judge_message(known, config_object(20, previous_revision=7)).verdict is Verdict.IGNORE


@pytest.mark.parametrize(
    "spoilt",
    [
        config_object(8, previous_revision=7, service="billing"),
        config_object(8, previous_revision=7, environment="staging"),
        config_object(8, previous_revision=7, hash="sha256:" + "0" * 64),
        config_object(8, previous_revision=7, requires=("rollout",)),
    ],
    ids=["service", "environment", "hash", "requires"],
)
def test_an_object_that_does_not_fit_is_refused_from_the_hub_and_fetched_from_the_bus(spoilt: object) -> None:
    assert judge_answer(KNOWN, spoilt).verdict is Verdict.REFUSE  # type: ignore[arg-type]
    assert judge_message(KNOWN, spoilt).verdict is Verdict.FETCH  # type: ignore[arg-type]


def test_an_object_without_its_configuration_is_fetched() -> None:
    hint = config_object(8, previous_revision=7, is_hint=True)
    assert judge_answer(KNOWN, hint).verdict is Verdict.FETCH
    assert judge_message(KNOWN, hint).verdict is Verdict.FETCH


def test_a_deletion_told_by_the_hub_is_applied() -> None:
    deleted = config_object(8, previous_revision=7, deleted=True)
    assert judge_answer(KNOWN, deleted).verdict is Verdict.APPLY
    assert judge_message(KNOWN, deleted).verdict is Verdict.APPLY


def test_a_bookmark_of_the_present_of_the_past_and_of_another_history() -> None:
    assert judge_bookmark(KNOWN, bookmark(7)) is Heard.PRESENT
    assert judge_bookmark(KNOWN, bookmark(8)) is Heard.PRESENT
    assert judge_bookmark(KNOWN, bookmark(6)) is Heard.PAST
    assert judge_bookmark(KNOWN, bookmark(1, epoch=2)) is Heard.OTHER_HISTORY
    assert judge_bookmark(KNOWN, bookmark(8, hub_id="hub-two")) is Heard.OTHER_HISTORY
    assert judge_bookmark(NOTHING, bookmark(3)) is Heard.PRESENT
