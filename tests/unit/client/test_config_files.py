"""Configuration files: what each format says, on which line, and what is refused."""

from pathlib import Path

import pytest

from central_hub_client.sources import SourceFailed
from central_hub_client.sources.files import FileSource, files_of, read_file

JSON = """{
  "operational": {"batch_size": 200,
    "a/b": [{"x": 1}, "}"]
  },
  "name": "q:\\"{",
  "empty": null
}
"""
YAML = """# a comment
operational:
  batch_size: 200
  a/b: [{x: 1}, "}"]
name: 'q:"{'
empty:
"""
TOML = '''name = 'q:"{'  # = [
[operational]
"a/b" = [{x = 1},
  "}"]
batch_size = 200
[operational.deeper]
text = """
[not.a.header]
"""
dotted.key = 1
'''
BASIC = {"operational": {"batch_size": 200, "a/b": [{"x": 1}, "}"]}, "name": 'q:"{'}


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def lines(places: dict[str, str]) -> dict[str, int]:
    return {pointer: int(place.rpartition(":")[2]) for pointer, place in places.items()}


def test_json_is_read_with_the_line_of_each_key(tmp_path: Path) -> None:
    loaded = read_file(write(tmp_path, "a.json", JSON))
    assert loaded.values == BASIC | {"empty": None}
    assert loaded.places["/operational/batch_size"] == f"{tmp_path / 'a.json'}:2"
    assert lines(dict(loaded.places)) == {
        "/operational": 2,
        "/operational/batch_size": 2,
        "/operational/a~1b": 3,
        "/name": 5,
        "/empty": 6,
    }


@pytest.mark.parametrize("name", ["a.yaml", "a.yml"])
def test_yaml_is_read_with_the_line_of_each_key(tmp_path: Path, name: str) -> None:
    loaded = read_file(write(tmp_path, name, YAML))
    assert loaded.values == BASIC | {"empty": None}
    assert lines(dict(loaded.places)) == {
        "/operational": 2,
        "/operational/batch_size": 3,
        "/operational/a~1b": 4,
        "/name": 5,
        "/empty": 6,
    }


def test_toml_is_read_with_the_line_of_each_key(tmp_path: Path) -> None:
    loaded = read_file(write(tmp_path, "a.toml", TOML))
    deeper = {"text": "[not.a.header]\n", "dotted": {"key": 1}}
    assert loaded.values == {"operational": BASIC["operational"] | {"deeper": deeper}, "name": BASIC["name"]}  # type: ignore[operator]
    assert lines(dict(loaded.places)) == {
        "/name": 1,
        "/operational/a~1b": 3,
        "/operational/batch_size": 5,
        "/operational/deeper/text": 7,
        "/operational/deeper/dotted/key": 10,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("0777", "0777"),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("~", None),
        ("-1", -1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("'1'", "1"),
        ("1e999", "1e999"),
    ],
)
def test_a_plain_word_of_yaml_means_what_it_means_in_json(tmp_path: Path, text: str, value: object) -> None:
    found = read_file(write(tmp_path, "a.yaml", f"value: {text}\n")).values["value"]
    assert found == value
    assert type(found) is type(value)


def test_a_date_of_toml_is_text(tmp_path: Path) -> None:
    assert read_file(write(tmp_path, "a.toml", "at = 2026-01-02\n")).values == {"at": "2026-01-02"}


BOMB = "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", '{"a": 1, "a": 2}', "twice"),
        ("a.json", '{"a": NaN}', "NaN"),
        ("a.json", '{"a": 1', "line 1"),
        ("a.json", "[1]", "one object"),
        ("a.json", "[" * 200 + "]" * 200, "deeper"),
        ("a.yaml", BOMB, "anchors"),
        ("a.yaml", "a: *b", "aliases"),
        ("a.yaml", "a: !!python/object/apply:os.system [ls]", "tags"),
        ("a.yaml", "a: !!str 1", "tags"),
        ("a.yaml", "<<: {a: 1}", "merge keys"),
        ("a.yaml", "a: 1\na: 2", "line 2, column 1: an object has the same key twice"),
        ("a.yaml", "a: 1\n---\nb: 1", "more than one document"),
        ("a.yaml", "[" * 5000, "deeper"),
        ("a.yaml", "? [a]\n: 1", "a key must be text"),
        ("a.yaml", "a: [1", "line"),
        ("a.yaml", "a: 9007199254740993", "quote it"),
        ("a.toml", "a = 1\na = 2", "a.toml"),
        ("a.toml", "a = nan", "NaN"),
        ("a.toml", "a = 9007199254740993", "loses digits"),
    ],
)
def test_what_could_be_misread_is_refused(tmp_path: Path, name: str, text: str, reason: str) -> None:
    with pytest.raises(SourceFailed, match=reason) as caught:
        read_file(write(tmp_path, name, text))
    assert str(tmp_path / name) in str(caught.value)


def test_an_error_in_a_file_does_not_quote_it(tmp_path: Path) -> None:
    for name in ("a.json", "a.yaml"):
        with pytest.raises(SourceFailed) as caught:
            read_file(write(tmp_path, name, 'password: "hunter2\n: ['))
        assert "hunter2" not in str(caught.value)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="larger"):
        read_file(write(tmp_path, "a.json", '{"a": "' + "x" * 5_000_000 + '"}'))


def test_no_file_is_no_values_and_the_first_format_counts(tmp_path: Path) -> None:
    source = FileSource(tmp_path, "default")
    assert source.load().values == {}
    write(tmp_path, "default.toml", "a = 3")
    assert source.load().values == {"a": 3}
    write(tmp_path, "default.json", '{"a": 1}')
    assert source.load().values == {"a": 1}


def test_files_have_the_priorities_of_their_roles(tmp_path: Path) -> None:
    roles = {Path(source.name).name: priority for priority, source in files_of("orders", "production", tmp_path)}
    assert roles == {"default": 10, "orders": 40, "production": 50}
    assert {Path(s.name).name: p for p, s in files_of("staging", "staging", tmp_path)} == {"default": 10, "staging": 50}
    assert {Path(s.name).name: p for p, s in files_of("orders", "default", tmp_path)} == {"default": 10, "orders": 40}


def test_a_link_that_points_elsewhere_is_another_fingerprint(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version, "default.json", "{}")
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "default.json").symlink_to("..data/default.json")
    source = FileSource(tmp_path, "default")
    before = source.fingerprint()
    assert source.fingerprint() == before
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert source.fingerprint() != before
