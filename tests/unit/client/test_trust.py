"""Which messages are believed."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central_hub_client.trust import MAX_KEYS, is_signed, parse_public_keys, read_key_list

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.generate().public_key().public_bytes_raw()


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def signed(payload: bytes) -> dict[str, str]:
    return {"Hub-Key-Id": "whatever", "Hub-Signature": encoded(KEY.sign(payload))}


def test_a_payload_is_believed_if_one_of_the_keys_signed_exactly_it() -> None:
    assert is_signed(b"payload", signed(b"payload"), [OTHER, PUBLIC])
    assert not is_signed(b"payload ", signed(b"payload"), [OTHER, PUBLIC])
    assert not is_signed(b"payload", signed(b"payload"), [OTHER])
    assert not is_signed(b"payload", signed(b"payload"), [])


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {"Hub-Signature": ""},
        {"Hub-Signature": "ü"},
        {"Hub-Signature": "no base64"},
        {"Hub-Signature": "AAAA"},
    ],
)
def test_a_missing_or_misshapen_signature_is_none(headers: dict[str, str] | None) -> None:
    assert not is_signed(b"payload", headers, [PUBLIC])


def test_a_key_that_is_no_key_is_skipped() -> None:
    assert is_signed(b"payload", signed(b"payload"), [b"\xff" * 32, PUBLIC])


def test_pinned_keys_are_base64_separated_by_commas() -> None:
    assert parse_public_keys(f" {encoded(PUBLIC)} ,{encoded(OTHER)},") == (PUBLIC, OTHER)
    assert parse_public_keys("") == ()


@pytest.mark.parametrize("text", ["nonsense", encoded(b"short"), encoded(b"x" * 33)])
def test_a_pinned_key_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes in base64"):
        parse_public_keys(text)


def test_keys_of_the_hub_are_read_and_those_of_unknown_algorithms_skipped() -> None:
    answer = {
        "keys": [
            {"id": "a", "algorithm": "ed25519", "public_key": encoded(PUBLIC)},
            {"id": "b", "algorithm": "ml-dsa", "public_key": "?"},
        ]
    }
    assert read_key_list(answer) == (PUBLIC,)


def test_more_keys_than_a_hub_can_have_are_cut() -> None:
    entry = {"algorithm": "ed25519", "public_key": encoded(PUBLIC)}
    assert len(read_key_list({"keys": [entry] * 1000})) == MAX_KEYS


@pytest.mark.parametrize("answer", [None, [], {}, {"keys": 1}, {"keys": [{"algorithm": "ed25519", "public_key": 5}]}])
def test_an_answer_that_is_no_list_of_keys_is_an_error(answer: object) -> None:
    with pytest.raises(ValueError, match="key"):
        read_key_list(answer)
