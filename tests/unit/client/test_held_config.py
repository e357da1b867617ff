"""What a client holds, through everything that may arrive."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from central_hub_client.acceptance import Heard
from central_hub_client.errors import Forbidden, HubUnreachable, NotFound
from central_hub_client.held_config import HeldConfig, Source
from central_hub_client.hub_api import Answer
from central_hub_client.last_known_good import Remembered
from central_hub_client.wire import ConfigObject, Position
from tests.unit.client.objects import SERVICE, bookmark, config_object

DAY = 86_400.0


def held_config(**safe_defaults: Any) -> HeldConfig:
    return HeldConfig(SERVICE, "default", safe_defaults, fresh_seconds=300, on_change=lambda merged: None)


def answer(received: ConfigObject | None, *, applied: int | None = None, is_stale: bool = False) -> Answer:
    return Answer(received, None if applied is None else Position(1, applied), is_stale)


def test_without_a_hub_the_safe_defaults_are_what_the_service_sees() -> None:
    held = held_config(batch_size=10)
    assert held.merged == {"batch_size": 10}
    status = held.status(0.0)
    assert (status.source, status.revision, status.age_seconds, status.stale) == (Source.DEFAULTS, None, None, True)


def test_the_hub_s_configuration_lies_over_the_safe_defaults_key_by_key() -> None:
    held = held_config(operational={"batch_size": 10, "retries": 3})
    held.take_answer(answer(config_object(1, {"operational": {"batch_size": 150}})), 0.0)
    assert held.merged == {"operational": {"batch_size": 150, "retries": 3}}


def test_thirty_days_of_errors_take_nothing_away() -> None:
    held = held_config()
    held.take_answer(answer(config_object(4)), 0.0)
    for error in (HubUnreachable("gone"), NotFound("no such service"), Forbidden("not yours")):
        held.fail(error)
    assert held.merged == {"revision": 4}
    status = held.status(30 * DAY)
    assert (status.revision, status.age_seconds, status.stale) == (4, 30 * DAY, True)
    assert status.error == "forbidden: not yours"


def test_each_kind_of_failure_has_a_word_of_its_own() -> None:
    held = held_config()
    words = []
    for error in (HubUnreachable("x"), NotFound("x"), Forbidden("x")):
        held.fail(error)
        words.append(held.status(0.0).error_code)
    held.take_answer(answer(config_object(1, hash="sha256:0")), 0.0)
    words.append(held.status(0.0).error_code)
    assert words == ["unreachable", "not_found", "forbidden", "invalid_answer"]


def test_a_deletion_leaves_the_safe_defaults_and_is_remembered() -> None:
    held = held_config(batch_size=10)
    held.take_answer(answer(config_object(4, {"batch_size": 99})), 0.0)
    held.take_event(config_object(5, deleted=True), 1.0)
    assert held.merged == {"batch_size": 10}
    remembered = held.to_remember(1.0, wall=1.0)
    assert remembered is not None
    assert remembered.object.deleted


def test_an_answer_confirms_what_was_restored() -> None:
    held = held_config()
    held.restore(Remembered(config_object(4), confirmed_at=100.0), 0.0, wall=400.0)
    before = held.status(0.0)
    assert (before.source, before.age_seconds, before.stale) == (Source.LAST_KNOWN_GOOD, 300.0, True)
    held.take_answer(answer(None, applied=9), 401.0)
    after = held.status(401.0)
    assert (after.source, after.age_seconds, after.stale) == (Source.HUB, 0.0, False)
    assert held.verified == Position(1, 9)


def test_an_age_survives_a_restart_and_a_wall_clock_that_was_set_back_makes_it_no_less() -> None:
    held = held_config()
    held.take_answer(answer(config_object(4)), 50.0)
    remembered = held.to_remember(60.0, wall=1000.0)
    assert remembered == Remembered(config_object(4), confirmed_at=990.0)
    later = held_config()
    later.restore(remembered, 3.0, wall=1000.0 + 30 * DAY)
    assert later.status(3.0).age_seconds == 10.0 + 30 * DAY
    from_the_future = held_config()
    from_the_future.restore(remembered, 3.0, wall=1000.0 - DAY)
    assert (from_the_future.status(3.0).age_seconds, from_the_future.status(403.0).age_seconds) == (0.0, 400.0)


def test_what_was_restored_late_does_not_replace_the_hub_s_answer() -> None:
    held = held_config()
    held.take_answer(answer(config_object(9)), 0.0)
    held.restore(Remembered(config_object(4), confirmed_at=0.0), 1.0, wall=1.0)
    assert held.merged == {"revision": 9}


def test_a_seed_is_used_when_there_is_nothing_and_replaced_by_anything() -> None:
    held = held_config()
    held.plant(config_object(50))
    assert held.status(0.0).source is Source.SEED
    assert held.etag is None
    assert held.to_remember(1.0, wall=1.0) is None
    assert held.take_event_bookmark(bookmark(3), 0.0) is Heard.PRESENT
    assert held.status(0.0).source is Source.SEED
    held.take_answer(answer(config_object(2)), 0.0)
    assert held.merged == {"revision": 2}
    held.plant(config_object(60))
    assert held.merged == {"revision": 2}


def test_a_hub_that_answers_from_memory_is_marked_as_stale() -> None:
    held = held_config()
    held.take_answer(answer(config_object(2), is_stale=True), 0.0)
    assert held.status(0.0).stale


def test_a_lagging_replica_confirms_nothing() -> None:
    held = held_config()
    held.take_answer(answer(config_object(9), applied=9), 0.0)
    held.take_answer(answer(config_object(8), applied=8), 100.0)
    assert held.status(100.0).age_seconds == 100.0
    assert held.verified == Position(1, 9)


def test_a_bookmark_does_not_excuse_a_refused_configuration() -> None:
    held = held_config()
    held.take_answer(answer(config_object(4)), 0.0)
    held.take_event(config_object(5, requires=("rollout",)), 1.0)
    held.take_event_bookmark(bookmark(5), 2.0)
    status = held.status(3.0)
    assert status.age_seconds == 3.0
    assert (
        status.error == "invalid_answer: the configuration was not applied: it needs a newer client (requires rollout)"
    )


def test_the_last_message_of_the_bus_is_told_apart_from_the_hub() -> None:
    held = held_config()
    held.take_last_message(config_object(6), 0.0)
    status = held.status(0.0)
    assert (status.source, status.revision, status.stale) == (Source.STREAM, 6, True)


def test_a_bus_bookmark_ahead_of_what_is_verified_confirms_nothing() -> None:
    held = held_config()
    held.take_answer(answer(config_object(4), applied=4), 0.0)
    assert held.take_bus_bookmark(bookmark(5), 10.0) is Heard.PRESENT
    assert held.status(10.0).age_seconds == 10.0
    held.take_bus_bookmark(bookmark(4), 11.0)
    assert held.status(11.0).age_seconds == 0.0


# Everything that a network, a set of replicas and a liar on the bus could bring, in any order.
objects = st.builds(
    config_object,
    st.integers(1, 12),
    epoch=st.integers(1, 3),
    previous_revision=st.one_of(st.none(), st.integers(0, 12)),
    service=st.sampled_from([SERVICE, SERVICE, SERVICE, "other"]),
    environment=st.sampled_from(["default", "default", "staging"]),
    requires=st.sampled_from([(), (), ("rollout",)]),
    is_hint=st.sampled_from([False, False, True]),
)
spoilt = objects.map(lambda received: config_object(received.revision, hash="sha256:" + "0" * 64))
deliveries = st.lists(
    st.tuples(
        st.sampled_from(["answer", "event", "message", "last", "unchanged", "mark", "bus mark"]), objects | spoilt
    ),
    max_size=40,
)


@given(deliveries)
def test_whatever_arrives_in_whatever_order_a_client_never_goes_backwards(
    deliveries: list[tuple[str, ConfigObject]],
) -> None:
    held = held_config()
    seen = Position(0, 0)
    for now, (channel, received) in enumerate(deliveries):
        match channel:
            case "answer":
                held.take_answer(Answer(received, received.position, False), now)
            case "event":
                held.take_event(received, now)
            case "message":
                held.take_message(received, now)
            case "last":
                held.take_last_message(received, now)
            case "unchanged" if held.object is not None:
                held.take_answer(Answer(None, received.position, False), now)
            case "mark":
                held.take_event_bookmark(bookmark(received.revision, epoch=received.epoch), now)
            case "bus mark":
                held.take_bus_bookmark(bookmark(received.revision, epoch=received.epoch), now)
        if held.object is not None:
            assert held.object.position >= seen
            seen = held.object.position
            assert held.object.hash_is_right()
            assert not held.object.is_hint
            assert (held.object.service, held.object.environment, held.object.requires) == (SERVICE, "default", ())
            assert held.verified is not None
            assert held.verified >= held.object.position


@given(st.permutations(range(1, 9)), st.booleans())
def test_once_the_hub_has_answered_last_year_s_messages_change_nothing(order: list[int], with_gaps: bool) -> None:
    held = held_config()
    held.take_answer(answer(config_object(8), applied=8), 0.0)
    for revision in order:
        held.take_message(config_object(revision, previous_revision=None if with_gaps else revision - 1), 1.0)
    assert held.merged == {"revision": 8}
