"""The one YAML dialect: everything in it has a line and a column, and nothing else gets through."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub_client.strict_yaml import MalformedYaml, Place, parse


def flaws(text: str | bytes) -> list[str]:
    with pytest.raises(MalformedYaml) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    return [str(flaw) for flaw in caught.value.flaws]


def test_every_value_and_every_key_has_its_place() -> None:
    value, root = parse(b"a: 1\nb:\n  - x\n  - {c: [2,  3]}\n")
    assert value == {"a": 1, "b": ["x", {"c": [2, 3]}]}
    assert root.at(["a"]) == Place(1, 4)
    assert root.key(["a"]) == Place(1, 1)
    assert root.at(["b", 0]) == Place(3, 5)
    assert root.at(["b", 1, "c", 1]) == Place(4, 14)
    assert root.key(["b", 1, "c"]) == Place(4, 6)


def test_what_is_missing_is_placed_at_the_key_around_it() -> None:
    _, root = parse(b"a:\n  b: {c: 1}\n")
    assert root.at(["a", "b", "missing"]) == Place(2, 3)
    assert root.at(["missing", "deeper"]) == Place(1, 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: *x", ["line 1, column 4: aliases are not taken"]),
        ("a: &x 1", ["line 1, column 4: anchors are not taken"]),
        ("a:\n  - !!str 1", ["line 2, column 5: tags are not taken"]),
        ("<<: {a: 1}", ["line 1, column 1: merge keys are not taken"]),
        ("a: 1\nb: 2\na: 3", ["line 3, column 1: an object has the same key twice, the first time in line 1"]),
        ("a: 1\n---\nb: 1", ["line 3, column 1: there is more than one document"]),
        ("? [a]\n: 1", ["line 1, column 3: a key must be text"]),
        (
            "x: 9007199254740993",
            ["line 1, column 4: an integer beyond ±(2^53−1) loses digits in most readers: quote it"],
        ),
        ("[" * 33, ["line 1, column 33: nested deeper than 32 levels"]),
        ("a: [1", ["line 1, column 6: this is not YAML"]),
        ("a: 1\n b: 2", ["line 2, column 3: this is not YAML"]),
        ("a:\n\t- 1", ["line 2, column 1: this is not YAML"]),
        ('a: "\\UFFFFFFFF"', ["line 1, column 7: this is not YAML"]),
        ('a: "\\ud800"', ["line 1, column 4: text with NUL or half of a surrogate pair is not taken"]),
        ('a: "\\0"', ["line 1, column 4: text with NUL or half of a surrogate pair is not taken"]),
        ("a: 1\nb: x\x07y", ["line 2, column 5: this character is not taken: escape it"]),
        (b"a: 1\nb: \xff", ["line 2, column 4: this is not UTF-8"]),
        (
            "a: *x\nb: !t 1\na: 2\nc: [1",
            [
                "line 1, column 4: aliases are not taken",
                "line 2, column 4: tags are not taken",
                "line 3, column 1: an object has the same key twice, the first time in line 1",
                "line 4, column 6: this is not YAML",
            ],
        ),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(text: str | bytes, found: list[str]) -> None:
    assert flaws(text) == found


def test_what_has_too_many_flaws_ends_at_a_hundred() -> None:
    assert len(flaws("\n".join("a: *x" for _ in range(1000)))) == 100


def test_too_many_values_end_before_they_are_built() -> None:
    assert "more than 50000 values" in flaws("[" + "1," * 100_001 + "]")[0]


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_end_in_anything_but_a_value_or_a_refusal(content: bytes) -> None:
    with suppress(MalformedYaml):
        parse(content)


WORDS = st.sampled_from(
    "a b: - [ ] { } , : ? | > & * ! % @ ` \" ' # \n \t --- ... <<: \\U \\x %YAML 1.1 \n  \r \u2028 ~ 0777".split(" ")
)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join))
def test_no_mixture_of_what_yaml_is_made_of_does_either(text: str) -> None:
    with suppress(MalformedYaml):
        parse(text.encode())
