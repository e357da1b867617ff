"""Names, positions and the objects that travel between hub and client."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub_client.wire import (
    RESERVED_SERVICE_NAMES,
    Bookmark,
    ConfigObject,
    ErrorCode,
    Position,
    content_hash,
    instances_subject,
    is_document_name,
    is_environment_name,
    is_service_name,
    update_subject,
)

HOSTILE_NAMES = [
    "", ".", "..", "../etc/passwd", "a/b", "a\\b", "a.b", "a.>", "a.*", "*", ">", "$SYS", "_INBOX", "_INBOX.x", "a b",
    " a", "a ", "a\t", "a\r\nPUB x 0\r\n", "a\n", "a\r", "a\0", "\n", "a\u2028", "a" * 5_000, "A", "Billing", "bílling",
    "аdmin", "ﬁ", "a_b", "_", "__global", "_GLOBAL", "-", "-a", "a-", "--", "a%2fb", "a;x", "a?b", "a#b", "a@b", "a:b",
    "a,b", "a'b", 'a"b', "a$b", "a{b}", "~", "\ud800", "\N{FULLWIDTH LATIN SMALL LETTER A}", "١", "²",
]  # fmt: skip


def shortened(text: str) -> str:
    return ascii(text)[:30]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=shortened)
def test_a_hostile_name_is_no_name_of_anything(name: str) -> None:
    assert not is_service_name(name)
    assert not is_document_name(name)
    assert not is_environment_name(name)


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--b", "7-eleven", "polygon-historical-downloader", "x" * 40])
def test_an_ordinary_name_may_name_a_service_and_an_environment(name: str) -> None:
    assert is_service_name(name)
    assert is_document_name(name)
    assert is_environment_name(name)


def test_names_have_a_greatest_length() -> None:
    assert is_service_name("a" * 100)
    assert not is_service_name("a" * 101)
    assert is_environment_name("a" * 40)
    assert not is_environment_name("a" * 41)


@pytest.mark.parametrize("name", sorted(RESERVED_SERVICE_NAMES))
def test_a_path_word_is_no_service_but_may_be_an_environment(name: str) -> None:
    assert not is_service_name(name)
    assert not is_document_name(name)
    assert is_environment_name(name)


def test_the_contract_reserves_these_names() -> None:
    assert len(RESERVED_SERVICE_NAMES) == 22
    assert {"update", "watch", "databases", "heartbeat"} <= RESERVED_SERVICE_NAMES


def test_the_global_document_has_a_name_but_is_no_service() -> None:
    assert is_document_name("_global")
    assert not is_service_name("_global")
    assert not is_environment_name("_global")


@given(st.text(st.characters(codec="utf-8")))
def test_a_name_that_passes_is_safe_in_a_subject_a_path_and_a_header(name: str) -> None:
    if is_service_name(name) or is_environment_name(name):
        assert name.isascii()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize(
    ("service", "environment", "subject"),
    [
        ("billing", "default", "config.update.billing"),
        ("billing", "prod", "config.update.billing.prod"),
        ("_global", "default", "config.update._global"),
    ],
)
def test_changes_are_announced_under_the_subject_of_service_and_environment(
    service: str, environment: str, subject: str
) -> None:
    assert update_subject(service, environment) == subject
    assert instances_subject(service, environment) == subject.replace("config", "discovery")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("42", Position(3, 42)),
        ("0", Position(3, 0)),
        ("1.42", Position(1, 42)),
        ("0.0", Position(0, 0)),
        ("9" * 18, Position(3, 10**18 - 1)),
    ],
)
def test_a_position_is_a_revision_or_an_epoch_and_a_revision(text: str, position: Position) -> None:
    assert Position.parse(text, current_epoch=3) == position


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".1", "1.2.3", "-1", "+1", "01", "1.01", "1 ", " 1", "1\n", "1.2\n", "1e3", "0x1", "١", "²",
     "1_000", "9" * 19, "9" * 5_000, "1." + "9" * 19, "1.42\r\nX-Evil: 1", "NaN", "latest"],
    ids=shortened,
)  # fmt: skip
def test_a_position_is_spelled_in_one_way_only(text: str) -> None:
    with pytest.raises(ValueError, match=r"epoch\.revision"):
        Position.parse(text, current_epoch=1)


positions = st.builds(Position, st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))


@given(positions, positions)
def test_positions_are_ordered_by_epoch_then_revision_and_survive_being_written(one: Position, two: Position) -> None:
    assert Position.parse(str(one), current_epoch=0) == one
    assert (one < two) == ((one.epoch, one.revision) < (two.epoch, two.revision))


EXAMPLE: dict[str, Any] = {
    "service": "billing",
    "environment": "default",
    "config": {"operational": {"batch_size": 150}},
    "version": "1.0.3",
    "hub_id": "b2",
    "epoch": 1,
    "revision": 42,
    "previous_revision": 37,
    "hash": content_hash({"operational": {"batch_size": 150}}),
    "requires": [],
    "updated_at": "2026-11-23T14:00:00.000Z",
    "updated_by": "alice",
}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in EXAMPLE.items() if name not in names}


def test_the_example_of_the_contract_is_read_and_written_alike() -> None:
    config = ConfigObject.from_json(EXAMPLE)
    assert config.to_json() == EXAMPLE
    assert list(config.to_json()) == list(EXAMPLE)
    assert config.position == Position(1, 42)
    assert config.hash_is_right()
    assert not config.deleted
    assert not config.is_hint


def test_a_deleted_configuration_is_null_and_says_so() -> None:
    deleted = ConfigObject.from_json(EXAMPLE | {"config": None, "deleted": True})
    assert deleted.deleted
    assert deleted.config is None
    assert deleted.to_json()["deleted"] is True
    assert deleted.to_json()["config"] is None


def test_an_object_without_config_is_a_hint_to_fetch() -> None:
    hint = ConfigObject.from_json(without("config"))
    assert hint.is_hint
    assert not hint.deleted
    assert "config" not in hint.to_json()


def test_what_a_later_hub_adds_is_ignored() -> None:
    assert ConfigObject.from_json(EXAMPLE | {"rollout": {"step": 1}}) == ConfigObject.from_json(EXAMPLE)


def test_what_an_object_may_leave_out_has_a_default() -> None:
    short = ConfigObject.from_json(without("version", "requires", "updated_at", "updated_by", "previous_revision"))
    assert (short.version, short.requires, short.previous_revision) == ("", (), None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        7,
        {},
        *(without(name) for name in ("service", "environment", "hub_id", "epoch", "revision", "hash")),
        EXAMPLE | {"config": None},
        EXAMPLE | {"config": []},
        EXAMPLE | {"config": "text"},
        EXAMPLE | {"deleted": True},
        EXAMPLE | {"deleted": 1},
        EXAMPLE | {"service": 7},
        EXAMPLE | {"service": None},
        EXAMPLE | {"revision": "42"},
        EXAMPLE | {"revision": True},
        EXAMPLE | {"revision": 42.0},
        EXAMPLE | {"epoch": None},
        EXAMPLE | {"epoch": False},
        EXAMPLE | {"previous_revision": True},
        EXAMPLE | {"previous_revision": "37"},
        EXAMPLE | {"requires": "rollouts"},
        EXAMPLE | {"requires": [1]},
        EXAMPLE | {"requires": None},
        EXAMPLE | {"hash": 1},
        EXAMPLE | {"updated_at": 1795000000},
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_malformed_object_raises_value_error_and_nothing_else(value: Any) -> None:
    with pytest.raises(ValueError, match=r"must|missing|deleted"):
        ConfigObject.from_json(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*EXAMPLE, "deleted", "unknown"]), json_values))
def test_any_replacement_of_fields_is_read_or_raises_value_error(changes: dict[str, Any]) -> None:
    try:
        config = ConfigObject.from_json(EXAMPLE | changes)
    except ValueError:
        return
    assert ConfigObject.from_json(config.to_json()) == config


def test_the_hash_is_that_of_the_sorted_spelling_in_utf8() -> None:
    config = {"b": "é", "a": [1, 2.0]}
    spelled = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert content_hash(config) == "sha256:" + hashlib.sha256(spelled).hexdigest()
    assert content_hash({"a": [1, 2.0], "b": "é"}) == content_hash(config)
    assert content_hash({"a": [1, 2], "b": "é"}) != content_hash(config)


def test_a_changed_configuration_no_longer_fits_its_hash() -> None:
    config = ConfigObject.from_json(EXAMPLE)
    assert not replace(config, config={"operational": {"batch_size": 151}}).hash_is_right()
    assert not replace(config, hash=config.hash.upper()).hash_is_right()


def test_a_bookmark_is_read_and_written_alike() -> None:
    bookmark = Bookmark("b2", 1, 42, "ab12")
    assert Bookmark.from_json(bookmark.to_json()) == bookmark
    assert bookmark.position == Position(1, 42)


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"hub_id": "b2", "epoch": 1}, {"hub_id": "b2", "epoch": "1", "revision": 2}, {"hub_id": 1}],
    ids=str,
)
def test_a_malformed_bookmark_raises_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"must|missing"):
        Bookmark.from_json(value)


def test_error_codes_are_unique_snake_case_words() -> None:
    assert len({code.value for code in ErrorCode}) == len(list(ErrorCode))
    assert all(code.value.replace("_", "").isalpha() and code.value.islower() for code in ErrorCode)
