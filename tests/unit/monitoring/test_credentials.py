"""References become values at the moment of use, and no error shows one."""

import os
from pathlib import Path

import pytest

from central_hub.monitoring.credentials import CredentialMissing, Credentials


def reference(uri: str) -> dict[str, str]:
    return {"$secret": uri}


def test_references_are_revealed_at_any_depth_and_nothing_else_is_touched() -> None:
    shape = {"host": "h", "port": 1, "password": reference("env://A"), "more": {"in": [reference("env://A"), "x"]}}
    assert Credentials({"A": "v"}).reveal(shape) == {
        "host": "h",
        "port": 1,
        "password": "v",
        "more": {"in": ["v", "x"]},
    }
    assert shape["password"] == reference("env://A")


def test_a_file_is_read_anew_at_every_use_and_without_the_end_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a password"
    credentials = Credentials({})
    for content, value in (("one\n", "one"), ("two", "two"), ("  three \r\n", "  three ")):
        path.write_text(content, newline="")
        assert credentials.reveal({"p": reference(path.as_uri())}) == {"p": value}


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("env://B", "env://B: the environment variable is not set"),
        ("env://EMPTY", "env://EMPTY: the environment variable is not set"),
        ("file:///nowhere/at/all", "file:///nowhere/at/all: No such file or directory"),
        ("file:///", "file:///: Is a directory"),
        ("file:///dev/zero", "file:///dev/zero: it is no regular file"),
        ("file:///a%00b", "file:///a%00b: the file is not UTF-8, or has no such name"),
        ("vault://a#b", "vault://a#b: only env:// and file:// can be resolved here"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(uri: str, said: str) -> None:
    with pytest.raises(CredentialMissing) as caught:
        Credentials({"A": "v", "EMPTY": ""}).reveal({"p": reference(uri)})
    assert str(caught.value) == said


@pytest.mark.parametrize("content", [b"", b"\n", b"secret\xff", b"secret" * 20_000])
def test_a_file_that_holds_no_credential_is_refused_without_a_word_of_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p"
    path.write_bytes(content)
    with pytest.raises(CredentialMissing) as caught:
        Credentials({}).reveal({"p": reference(path.as_uri())})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.timeout(30)
def test_a_pipe_that_nobody_writes_to_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "p"
    os.mkfifo(path)
    with pytest.raises(CredentialMissing, match="no regular file"):
        Credentials({}).reveal({"p": reference(path.as_uri())})
