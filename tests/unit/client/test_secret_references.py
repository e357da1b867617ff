"""References to secrets: how they are spelled, resolved, renewed, and kept out of sight."""

import time
from pathlib import Path
from typing import Any

import pytest

from central_hub_client import secret_references
from central_hub_client.binding import Refused
from central_hub_client.secret_references import Reference, Secrets, marked
from tests.unit.client.installed import install


def reference(uri: str) -> dict[str, str]:
    return {"$secret": uri}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": reference("env://X")}, {"a": Reference("env://X")}),
        ({"a": [1, {"b": reference("env://X")}]}, {"a": [1, {"b": Reference("env://X")}]}),
        ({"a": {"$secret": "env://X", "more": 1}}, {"a": {"$secret": "env://X", "more": 1}}),
        ({"a": {"$secret": 5}}, {"a": {"$secret": 5}}),
        ({"$secret": "env://X"}, Reference("env://X")),
        ({"a": "${env:X_1}", "b": ["${env:X}", 1]}, {"a": Reference("env://X_1"), "b": [Reference("env://X"), 1]}),
        ({"a": {"b": {"c": "${env:X}"}}}, {"a": {"b": {"c": Reference("env://X")}}}),
        ({"a": "x${env:X}", "b": "${env:X}\n"}, {"a": "x${env:X}", "b": "${env:X}\n"}),
        ({"a": "${env:}", "b": "${env:1}", "c": "${X}"}, {"a": "${env:}", "b": "${env:1}", "c": "${X}"}),
        (
            {"a": "${env:X}", "b": ["ref+vault://kv/a#/b"]},
            {"a": Reference("env://X"), "b": [Reference("vault://kv/a#/b")]},
        ),
        ({"a": reference("${env:X}")}, {"a": Reference("env://X")}),
        ({"a": "see ${env:X}", "b": "env://X"}, {"a": "see ${env:X}", "b": "env://X"}),
        ({"a": reference("not a reference")}, {"a": Reference("not a reference")}),
    ],
)
def test_what_is_nothing_but_a_reference_is_one(values: Any, expected: Any) -> None:
    assert marked(values) == expected


def test_what_has_no_reference_is_not_copied() -> None:
    values = {"a": {"b": [1, {"c": None}]}}
    assert marked(values) is values


def test_references_are_filled_in_and_their_places_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "one")
    (tmp_path / "with space").write_text("two\n")
    values = marked({"a": reference("env://A_SECRET"), "b": [reference(f"file://{tmp_path}/with%20space")]})
    assert Secrets().fill(values) == ({"a": "one", "b": ["two"]}, frozenset({("a",), ("b", "0")}))


@pytest.mark.parametrize(
    "uri",
    ["env://NOBODY_SET_THIS", "file:///nowhere/at/all", "file://host/path", "vault://a#/b", "plain", "env://", ""],
)
def test_what_cannot_be_had_is_named_with_its_place(uri: str) -> None:
    with pytest.raises(Refused) as caught:
        Secrets().fill(marked({"a": reference(uri), "b": reference("env://NOBODY_SET_THIS")}))
    assert [problem.path for problem in caught.value.problems] == [("a",), ("b",)]
    assert uri in str(caught.value)


def test_a_file_that_is_written_again_has_moved_on_and_one_that_is_gone_stays(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("one")
    values, secrets = marked({"a": reference(f"file://{path}")}), Secrets()
    assert secrets.fill(values)[0] == {"a": "one"}
    assert not secrets.have_moved_on()
    path.write_text("another")
    assert secrets.have_moved_on()
    assert secrets.fill(values)[0] == {"a": "another"}
    path.unlink()
    assert not secrets.have_moved_on()
    assert secrets.fill(values)[0] == {"a": "another"}


def test_a_mounted_secret_that_is_swapped_by_a_link_has_moved_on(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "secret").write_text(version)  # as long as the other: only the link tells
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "secret").symlink_to("..data/secret")
    values, secrets = marked({"a": reference(f"file://{tmp_path / 'secret'}")}), Secrets()
    assert secrets.fill(values)[0] == {"a": "one"}
    assert not secrets.have_moved_on()
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert secrets.have_moved_on()
    assert secrets.fill(values)[0] == {"a": "two"}


def test_an_installed_resolver_is_asked_again_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
asked = []
def entry(uri):
    asked.append(uri)
    return f"answer {len(asked)} for {uri}"
entry.ttl_seconds = 0.05
"""
    install(tmp_path, monkeypatch, "central_hub_client.secrets", "vault", code)
    values, secrets = marked({"a": reference("vault://x#/y")}), Secrets()
    assert secrets.fill(values)[0] == secrets.fill(values)[0] == {"a": "answer 1 for vault://x#/y"}
    time.sleep(0.1)
    assert secrets.have_moved_on()
    assert secrets.fill(values)[0] == {"a": "answer 2 for vault://x#/y"}


@pytest.mark.parametrize(
    "code",
    [
        "def entry(uri): raise RuntimeError('hunter2')",
        "import threading\ndef entry(uri): threading.Event().wait()",
        "def entry(uri): return 5",
        "raise RuntimeError('hunter2')",
        "",
    ],
    ids=["raises", "hangs", "no text", "cannot be imported", "is not there"],
)
def test_a_resolver_that_fails_or_hangs_says_nothing_of_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(secret_references, "RESOLVE_SECONDS", 0.2)
    install(tmp_path, monkeypatch, "central_hub_client.secrets", "vault", code)
    with pytest.raises(Refused, match="vault://x") as caught:
        Secrets().fill(marked({"a": reference("vault://x")}))
    assert "hunter2" not in str(caught.value)


def test_resolved_secrets_are_taken_out_of_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    secrets = Secrets()
    secrets.fill(marked({"a": reference("env://A_SECRET")}))
    assert secrets.hidden_in("bad value 'hunter2' here") == "bad value '**********' here"
    assert "hunter2" not in repr(vars(secrets))
