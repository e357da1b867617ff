"""The signature of webhooks, held against a message that was signed by somebody else."""

import pytest

from central_hub.monitoring.channels.webhook_signature import signed_headers


def test_the_signature_is_the_one_that_is_published_as_an_example() -> None:
    # The message that the libraries of the Standard Webhooks family are tested with.
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_secret_signs_on_its_own() -> None:
    both = signed_headers("n1", 1, b"{}", ["old", "new"])["webhook-signature"]
    alone = [signed_headers("n1", 1, b"{}", [secret])["webhook-signature"] for secret in ("old", "new")]
    assert both == " ".join(alone)
    assert alone[0] != alone[1]


@pytest.mark.parametrize("changed", [("n2", 1, b"{}"), ("n1", 2, b"{}"), ("n1", 1, b"{ }")])
def test_whatever_is_changed_is_noticed(changed: tuple[str, int, bytes]) -> None:
    signature = "webhook-signature"
    assert signed_headers(*changed, ["key"])[signature] != signed_headers("n1", 1, b"{}", ["key"])[signature]
