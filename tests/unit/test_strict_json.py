"""What the one parser accepts, what it refuses and how fast, and the limits of a document."""

import inspect
import json
import math
import sys
import time
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub_client.strict_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_KEY_CHARACTERS,
    MAX_NESTING,
    MAX_NODES,
    MAX_STRING_BYTES,
    LimitExceeded,
    MalformedJson,
    canonical,
    check_limits,
    escape_pointer,
    parse,
)

MEBIBYTE = 2**20
MILLION = 1_000_000


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def cpu_milliseconds(action: Callable[[], object]) -> float:
    """The least of three runs, in processor time: a busy machine must not fail the test."""
    durations = []
    for _ in range(3):
        before = time.process_time()
        action()
        durations.append((time.process_time() - before) * 1000)
    return min(durations)


def outcome(body: bytes) -> type[Exception] | None:
    try:
        parse(body)
    except (MalformedJson, LimitExceeded) as error:
        return type(error)
    return None


HOSTILE: dict[str, tuple[bytes, type[Exception]]] = {
    "lists nested 100,000 deep": (nested(100_000), LimitExceeded),
    "objects nested 100,000 deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, LimitExceeded),
    "lists nested 40,000 deep": (nested(40_000), LimitExceeded),
    "lists nested 40,000 deep and never closed": (b"[" * 40_000, LimitExceeded),
    "a million empty objects": (b"[" + b"{}," * MILLION + b"{}]", LimitExceeded),
    "a million empty lists in strings' company": (b'["a,b",' + b"[]," * MILLION + b"[]]", LimitExceeded),
    "a mebibyte of empty strings": (b'["' + b'","' * (MEBIBYTE // 4) + b'"]', LimitExceeded),
    "an integer of 5,000 digits": (b"9" * 5_000, MalformedJson),
    "an integer of a million digits": (b"[1" + b"0" * MILLION + b"]", MalformedJson),
    "2^53": (str(2**53).encode(), MalformedJson),
    "2^53+1": (str(2**53 + 1).encode(), MalformedJson),
    "-2^53": (str(-(2**53)).encode(), MalformedJson),
    "2^64+1": (str(2**64 + 1).encode(), MalformedJson),
    "1e400": (b"1e400", MalformedJson),
    "-1e400": (b"-1e400", MalformedJson),
    "1e-400": (b"1e-400", MalformedJson),
    "an exponent of twenty digits": (b"1e" + b"9" * 20, MalformedJson),
    "a negative exponent of twenty digits": (b"1e-" + b"9" * 20, MalformedJson),
    "a million digits after the point": (b"0." + b"3" * MILLION, MalformedJson),
    "a million zeros and the exponent that takes them back": (b"0." + b"0" * MILLION + b"1e1000000", MalformedJson),
    "more digits than a double has": (b"0.1234567890123456789", MalformedJson),
    "a fraction that a double rounds": (b"9007199254740993.0", MalformedJson),
    "NaN": (b"NaN", MalformedJson),
    "Infinity": (b'{"a": Infinity}', MalformedJson),
    "-Infinity": (b"[-Infinity]", MalformedJson),
    "duplicate keys": (b'{"a": 1, "a": 2}', MalformedJson),
    "duplicate keys deep inside": (b'[{"b": {"a": 1, "c": 2, "a": 1}}]', MalformedJson),
    "duplicate keys of which one is escaped": (b'{"a": 1, "\\u0061": 2}', MalformedJson),
    "NUL escaped": (b'{"a": "\\u0000"}', MalformedJson),
    "NUL escaped in a key": (b'{"\\u0000": 1}', MalformedJson),
    "NUL raw": (b'{"a": "\x00"}', MalformedJson),
    "a control character": (b'{"a": "\x1f"}', MalformedJson),
    "a line feed in a string": (b'{"a": "\n"}', MalformedJson),
    "a lone high surrogate": (b'["\\ud800"]', MalformedJson),
    "a lone low surrogate": (b'["\\udc00"]', MalformedJson),
    "surrogates the wrong way round": (b'["\\ude00\\ud83d"]', MalformedJson),
    "a lone surrogate in a key": (b'{"\\ud83d": 1}', MalformedJson),
    "a surrogate in UTF-8": (b'["\xed\xa0\x80"]', MalformedJson),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), MalformedJson),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), MalformedJson),
    "UTF-32": ('{"a": 1}'.encode("utf-32"), MalformedJson),
    "a byte order mark": (b"\xef\xbb\xbf{}", MalformedJson),
    "Latin-1": (b'["\xe9"]', MalformedJson),
    "an overlong encoding": (b'["\xc0\xaf"]', MalformedJson),
    "nothing": (b"", MalformedJson),
    "white space": (b" \n\t", MalformedJson),
    "two values": (b"{} {}", MalformedJson),
    "a trailing comma": (b"[1,]", MalformedJson),
    "a comment": (b"{} // none", MalformedJson),
    "single quotes": (b"{'a': 1}", MalformedJson),
    "a leading zero": (b"01", MalformedJson),
    "a plus sign": (b"+1", MalformedJson),
    "a hexadecimal number": (b"0x10", MalformedJson),
    "a bare point": (b".5", MalformedJson),
    "a form feed as white space": (b"\x0c{}", MalformedJson),
    "a no-break space as white space": (b"\xc2\xa0{}", MalformedJson),
    "an unknown escape": (b'["\\x41"]', MalformedJson),
    "half an escape": (b'["\\u00"]', MalformedJson),
    "a string that never ends": (b'{"a": "' + b"a" * MEBIBYTE, MalformedJson),
    "a string of escaped quotes that never ends": (b'"' + b'\\",' * (MEBIBYTE // 4), MalformedJson),
    "a mebibyte of backslashes": (b'"' + b"\\" * MEBIBYTE + b",[{" * 50_000, MalformedJson),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_refused_within_fifty_milliseconds(name: str) -> None:
    body, expected = HOSTILE[name]
    assert outcome(body) is expected
    assert cpu_milliseconds(lambda: outcome(body)) < 50


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"0", 0),
        (b"-0", 0),
        (b"-1", -1),
        (str(MAX_INTEGER).encode(), MAX_INTEGER),
        (str(-MAX_INTEGER).encode(), -MAX_INTEGER),
        (b"1.0", 1.0),
        (b"1.50", 1.5),
        (b"0.1", 0.1),
        (b"1E5", 100000.0),
        (b"1e+5", 100000.0),
        (b"0.1234567890123456", 0.1234567890123456),
        (b"1.7976931348623157e308", sys.float_info.max),
        (b"5e-324", 5e-324),
        (b"0e400", 0.0),
        (b'"\\/"', "/"),
        (b'"\\\\u0000"', "\\u0000"),
        (b'"\\\\ud800"', "\\ud800"),
        (b'"\\u00e9"', "é"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\\\"', "\\"),
        (b'"\\\\\\""', '\\"'),
        (b' {"a" : [ ] } \r\n', {"a": []}),
        (b"null", None),
        ('{"ключ": "値"}'.encode(), {"ключ": "値"}),
        (b'{"": {"": 1}}', {"": {"": 1}}),
        (b'{"a": {"a": 1}}', {"a": {"a": 1}}),
        (b'"' + b"[{,}]" * 20_000 + b'"', "[{,}]" * 20_000),
        (b'["' + b'\\",[' * 20_000 + b'"]', ['",[' * 20_000]),
    ],
)
def test_what_means_the_same_to_every_reader_is_accepted(body: bytes, value: Any) -> None:
    parsed = parse(body)
    assert parsed == value
    assert type(parsed) is type(value)


def test_an_integer_and_a_float_of_the_same_value_stay_apart() -> None:
    assert canonical(parse(b"[1, 1.0]")) == b"[1,1.0]"


def test_there_is_one_zero_and_so_one_hash_for_it() -> None:
    assert math.copysign(1, parse(b"-0.0")) == 1
    assert canonical(parse(b"[-0.0, -0e0, 0.0]")) == b"[0.0,0.0,0.0]"


def test_schemas_may_hold_larger_integers() -> None:
    assert parse(str(2**64 + 1).encode(), bounded_integers=False) == 2**64 + 1
    with pytest.raises(MalformedJson):
        parse(b"1" * 5_000, bounded_integers=False)


def test_the_limit_of_values_can_be_raised_for_a_body_that_holds_several_documents() -> None:
    body = b"[" + b"1," * MAX_NODES + b"1]"
    with pytest.raises(LimitExceeded):
        parse(body)
    assert len(parse(body, max_nodes=2 * MAX_NODES)) == MAX_NODES + 1


def test_commas_and_brackets_inside_strings_are_not_counted_as_values() -> None:
    assert parse(b'["' + b",[{" * MAX_NODES + b'"]') == [",[{" * MAX_NODES]


def test_whatever_is_parsed_can_be_recursed_into() -> None:
    assert canonical(parse(nested(MAX_NESTING))) == nested(MAX_NESTING)
    for depth in (MAX_NESTING + 1, 500, 900, sys.getrecursionlimit(), 5_000):
        with pytest.raises(LimitExceeded):
            parse(nested(depth))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, MAX_NESTING, 500, 950, 5_000])
def test_a_deep_document_is_refused_in_the_same_way_from_a_deep_stack(depth: int) -> None:
    def descend(frames: int) -> None:
        if frames:
            descend(frames - 1)
        else:
            check_limits(parse(nested(depth)))

    frames_in_use = len(inspect.stack())
    with pytest.raises(LimitExceeded):
        descend(sys.getrecursionlimit() - frames_in_use - 150)


def test_a_document_of_one_mebibyte_of_numbers_is_read_quickly() -> None:
    body = b"[" + b"123.4567890123456," * 49_000 + b"1]"
    assert cpu_milliseconds(lambda: parse(body)) < 250


def test_the_place_and_not_the_text_of_a_syntax_error_is_told() -> None:
    with pytest.raises(MalformedJson, match="line 2, column 6") as refusal:
        parse(b'{\n"a": hunter2}')
    assert "hunter2" not in str(refusal.value)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=MAX_KEY_CHARACTERS)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(values)
def test_what_is_accepted_survives_the_round_trip_through_its_canonical_spelling(value: Any) -> None:
    spelled = canonical(value)
    parsed = parse(spelled)
    assert parsed == value
    assert parse(canonical(parsed)) == parsed
    assert parse(json.dumps(value).encode()) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_accepted_as_python_spells_it(value: float) -> None:
    assert parse(repr(value).encode()) == value


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
def test_a_number_is_either_kept_to_the_last_digit_or_refused(literal: str) -> None:
    try:
        value = parse(literal.encode())
    except MalformedJson:
        return
    assert Fraction(value) == Fraction(literal) or Fraction(repr(value)) == Fraction(literal)


@given(st.binary())
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    outcome(body)


@given(st.lists(st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"1", b"e", b"-", b".", b"u0000"])))
def test_no_pieces_of_json_raise_anything_else(pieces: list[bytes]) -> None:
    outcome(b"".join(pieces))


def test_a_canonical_spelling_is_sorted_without_white_space_in_utf8() -> None:
    assert canonical({"b": [1, 2.5, None], "a": {"é": "😀"}}) == '{"a":{"é":"😀"},"b":[1,2.5,null]}'.encode()


def test_a_canonical_spelling_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))


def document_of_depth(depth: int) -> Any:
    document: Any = 1
    for level in range(depth):
        document = {"a": document} if level % 2 else [document]
    return document


def test_a_document_at_each_limit_passes() -> None:
    check_limits(document_of_depth(MAX_DEPTH))
    check_limits([1] * (MAX_NODES - 1))
    check_limits({"k" * MAX_KEY_CHARACTERS: "v" * MAX_STRING_BYTES})
    check_limits("é" * (MAX_STRING_BYTES // 2))
    check_limits(1)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (document_of_depth(MAX_DEPTH + 1), None),
        ([1] * MAX_NODES, ""),
        ({"a": [1, {"k" * (MAX_KEY_CHARACTERS + 1): 1}]}, "/a/1"),
        ({"a/b": {"c~d": ["v" * (MAX_STRING_BYTES + 1)]}}, "/a~1b/c~0d/0"),
        ("é" * (MAX_STRING_BYTES // 2) + "x", ""),
    ],
    ids=["depth", "values", "key", "string", "bytes of a string"],
)
def test_a_document_beyond_a_limit_is_refused_with_the_place(document: Any, pointer: str | None) -> None:
    with pytest.raises(LimitExceeded) as refusal:
        check_limits(document)
    if pointer is None:
        assert refusal.value.pointer == "/0/a" * (MAX_DEPTH // 2)
    else:
        assert refusal.value.pointer == pointer


def test_checking_a_wide_document_below_long_keys_takes_little_memory_and_time() -> None:
    document: Any = [[] for _ in range(MAX_NODES - 100)]
    for _ in range(MAX_DEPTH - 2):
        document = {"😀" * MAX_KEY_CHARACTERS: document}
    assert cpu_milliseconds(lambda: check_limits(document)) < 100
    tracemalloc.start()
    check_limits(document)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MEBIBYTE


@given(values)
def test_limits_hold_for_small_documents_of_any_shape(value: Any) -> None:
    check_limits(value)


def test_a_pointer_token_is_escaped_as_rfc_6901_says() -> None:
    assert escape_pointer("a/b~c~1") == "a~1b~0c~01"
