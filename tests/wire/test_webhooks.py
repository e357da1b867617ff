"""What a webhook's receiver gets, and what the hub makes of whatever he answers."""

import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from central_hub.connections import webhook_post
from central_hub.connections.webhook_post import WebhookPost
from central_hub.monitoring.channels.channel import NotDelivered
from central_hub.monitoring.channels.webhook import WebhookChannel
from central_hub.monitoring.notification import Notification, for_test
from tests.wire.small_server import write_certificate
from tests.wire.waiting import until
from tests.wire.webhook_receiver import Received, WebhookReceiver, answer, webhook_receiver

SECRET = "marker-Xq7-never-shown"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "webhooks.md"
NOTIFICATION = for_test("n1", "on-call", "hub-7", by="anna", at=datetime(2026, 11, 29, tzinfo=UTC))


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as running:
        yield running


def channel(at: str, **options: Any) -> WebhookChannel:
    values = {"url": at, "secret": SECRET, "allow_private": True} | options
    return WebhookChannel(values, lambda given: given, WebhookPost())


async def refusal(webhook: WebhookChannel, notification: Notification = NOTIFICATION) -> NotDelivered:
    with pytest.raises(NotDelivered) as caught:
        await webhook.send(notification)
    assert SECRET not in caught.value.reason
    return caught.value


def is_signed(received: Received, key: bytes) -> bool:
    """As a receiver verifies it, without any code of the hub."""
    signed = received.headers["webhook-id"] + "." + received.headers["webhook-timestamp"] + "."
    expected = base64.b64encode(hmac.new(key, signed.encode() + received.body, hashlib.sha256).digest()).decode()
    given = [part.split(",", 1) for part in received.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(signature, expected) for version, signature in given)


async def test_a_receiver_gets_the_payload_and_can_tell_who_sent_it_and_when(receiver: WebhookReceiver) -> None:
    await channel(receiver.url("/alerts?team=a")).send(NOTIFICATION)
    [received] = receiver.received
    assert (received.method, received.path) == ("POST", "/alerts?team=a")
    assert received.body.decode() == NOTIFICATION.payload
    assert json.loads(received.body)["id"] == received.headers["webhook-id"] == "n1"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 60
    assert is_signed(received, SECRET.encode())
    assert not is_signed(received, b"another")


async def test_the_example_of_the_documentation_knows_what_is_from_the_hub(receiver: WebhookReceiver) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - our own documentation
    is_from_the_hub = names["is_from_the_hub"]
    encoded = "whsec_" + base64.b64encode(b"\x00\xff binary key of 24 byte").decode()
    await channel(receiver.url(), secret=[encoded, SECRET]).send(NOTIFICATION)
    [received] = receiver.received
    for secret in (encoded, SECRET):
        assert is_from_the_hub(received.headers, received.body, secret)
    assert not is_from_the_hub(received.headers, received.body + b" ", SECRET)
    assert not is_from_the_hub(received.headers, received.body, "another")
    for changed in ({"webhook-id": "n2"}, {"webhook-timestamp": str(int(time.time()) - 301)}):
        assert not is_from_the_hub(received.headers | changed, received.body, SECRET)


async def test_while_a_secret_is_replaced_either_verifies(receiver: WebhookReceiver) -> None:
    key = b"\x00\xff binary key of 24 byte"
    await channel(receiver.url(), secret=["whsec_" + base64.b64encode(key).decode(), SECRET]).send(NOTIFICATION)
    [received] = receiver.received
    assert is_signed(received, key)
    assert is_signed(received, SECRET.encode())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_success_is_a_delivery(receiver: WebhookReceiver, status: int) -> None:
    receiver.answers = lambda _: answer(status)
    await channel(receiver.url()).send(NOTIFICATION)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 429, 500, 502, 503])
async def test_what_is_no_success_is_tried_again(receiver: WebhookReceiver, status: int) -> None:
    receiver.answers = lambda _: answer(status)
    failure = await refusal(channel(receiver.url()))
    assert (failure.reason, failure.retry, failure.after_seconds) == (f"answered {status}", True, None)


async def test_a_receiver_that_is_gone_for_good_is_left_alone(receiver: WebhookReceiver) -> None:
    receiver.answers = lambda _: answer(410)
    assert not (await refusal(channel(receiver.url()))).retry


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(receiver: WebhookReceiver, status: int) -> None:
    receiver.answers = lambda _: answer(status, f"Location: {receiver.url('/elsewhere')}")
    failure = await refusal(channel(receiver.url("/here")))
    assert failure.reason == f"answered {status}; redirects are not followed"
    assert [received.path for received in receiver.received] == ["/here"]


async def test_a_receiver_says_how_long_he_wants_to_be_left_alone(receiver: WebhookReceiver) -> None:
    for said, seconds in (
        ("120", 120.0),
        (format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True), 300.0),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        ("Sun, 99 Nov 2026", None),
        ("Mon, 01 Jan 2029 00:00:00 +99999999999999999999", None),
    ):
        receiver.answers = lambda _, said=said: answer(503, f"Retry-After: {said}")  # type: ignore[misc]
        failure = await refusal(channel(receiver.url()))
        assert failure.after_seconds == (None if seconds is None else pytest.approx(seconds, abs=30))


async def test_an_answer_that_never_ends_is_left_after_a_little(receiver: WebhookReceiver) -> None:
    await channel(receiver.url("/endless")).send(NOTIFICATION)
    await until(lambda: not receiver.open)
    assert receiver.sent < 32 * 1024 * 1024


async def test_who_does_not_answer_is_left_in_time(receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_post, "TIMEOUT_SECONDS", 0.5)
    assert (await refusal(channel(receiver.url("/hang")))).reason == "no answer within 0.5 s"


@pytest.mark.parametrize("said", [b"", b"\x00\xff nothing\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 500_000])
async def test_what_is_no_answer_is_none(receiver: WebhookReceiver, said: bytes) -> None:
    receiver.answers = lambda _: said
    assert (await refusal(channel(receiver.url()))).reason == "the connection was closed without a valid answer"


async def test_where_nobody_listens_it_is_tried_again() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        failure = await refusal(channel(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert (failure.reason, failure.retry) == ("the connection was refused", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
async def test_private_addresses_are_refused_unless_they_are_allowed(receiver: WebhookReceiver, host: str) -> None:
    failure = await refusal(channel(receiver.url(host=host), allow_private=False))
    assert failure.reason.startswith("not sent: ")
    assert failure.reason.endswith("is a loopback address; allow_private: true on the channel allows it")
    assert receiver.received == []
    await channel(receiver.url(host=host)).send(NOTIFICATION)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("169.254.169.254", "a link-local address"),
        ("[::ffff:169.254.169.254]", "a link-local address"),
        ("2852039166", "a link-local address"),
        ("0.0.0.0", "an unspecified address"),
        ("0", "an unspecified address"),
        ("[::]", "an unspecified address"),
        ("[fd00:ec2::254]", "a metadata service"),
        ("100.100.100.200", "a metadata service"),
        ("224.0.0.1", "a multicast address"),
    ],
)
async def test_what_is_nobodys_receiver_is_refused_even_so(receiver: WebhookReceiver, host: str, kind: str) -> None:
    failure = await refusal(channel(receiver.url(host=host)))
    assert failure.reason == f"not sent: {host.strip('[]')} is {kind}"
    assert receiver.received == []


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.1.1", "100.64.0.1", "fd12::7", "64:ff9b::a00:7"])
async def test_a_name_is_judged_by_its_addresses(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (address, 0))])
    failure = await refusal(channel("https://alerts.example/", allow_private=False))
    assert failure.reason.startswith("not sent: alerts.example is a private address;")


async def test_a_name_that_changes_its_address_leads_nowhere_else(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a name server does that wants the hub to look at one address and to connect to another.
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1" if len(asked) == 1 else "169.254.169.254", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    await channel(receiver.url(host="rebinding.example")).send(NOTIFICATION)
    assert asked == ["rebinding.example"]
    assert receiver.received[0].headers["host"] == f"rebinding.example:{receiver.port}"
    failure = await refusal(channel(receiver.url(host="rebinding.example")))
    assert failure.reason == "not sent: rebinding.example is a link-local address"


async def test_of_several_addresses_only_those_are_used_that_may_be(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(2, 1, 6, "", (address, 0)) for address in ("169.254.169.254", "0.0.0.0", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    await channel(receiver.url(host="several.example")).send(NOTIFICATION)
    assert len(receiver.received) == 1


async def test_the_certificate_must_be_of_an_authority_that_is_known(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with webhook_receiver(tls) as receiver:
        url = receiver.url(scheme="https")
        failure = await refusal(channel(url))
        assert failure.reason.startswith("its certificate is not valid: self")
        assert receiver.received == []
        await channel(url, ca_file=str(tmp_path / "cert")).send(NOTIFICATION)
        assert len(receiver.received) == 1
        # It is for 127.0.0.1, and localhost leads there.
        failure = await refusal(channel(receiver.url(scheme="https", host="localhost"), ca_file=str(tmp_path / "cert")))
        assert "its certificate is not valid: Hostname mismatch" in failure.reason
        assert receiver.names[-1] == "localhost"
        missing = str(tmp_path / "missing")
        assert (await refusal(channel(url, ca_file=missing))).reason == (
            f"the ca_file {missing} cannot be read as certificates"
        )
        assert len(receiver.received) == 1


async def test_proxies_of_the_environment_are_not_used(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await channel(receiver.url()).send(NOTIFICATION)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"secret": None}, "secret must be a text"),
        ({"secret": []}, "secret must be a text"),
        ({"secret": [SECRET, 3]}, "secret must be a text"),
        ({"secret": "whsec_" + SECRET + "!"}, "what follows whsec_ in the secret is not base64"),
        ({"secret": "whsec_"}, "the secret is empty"),
        ({"url": None}, "url must be a URL of http or https"),
        ({"url": f"ftp://{SECRET}/"}, "url must be a URL of http or https"),
        ({"url": f"https://u:{SECRET}@example.com/"}, "url contains a user or a password"),
        ({"url": f"https://[{SECRET}/"}, "url is not a URL"),
        ({"url": f"https://example.com:{SECRET}/"}, "url is not a URL"),
        ({"url": f"https://example.com/{SECRET} x"}, "url contains characters that must be percent-encoded"),
        ({"url": f"https://example.com/{SECRET}é"}, "url contains characters that must be percent-encoded"),
        ({"allow_private": "yes"}, "allow_private must be true or false"),
        ({"ca_file": 5}, "ca_file must be the path of a file"),
    ],
)
async def test_options_that_are_wrong_are_told_without_their_values(options: Mapping[str, Any], reason: str) -> None:
    failure = await refusal(channel("https://example.com/", **options))
    assert failure.reason.startswith(f"not sent: {reason}")


async def test_a_credential_that_is_missing_is_told_and_tried_again() -> None:
    def reveal(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ValueError("env://ALERT_SECRET is not set")

    webhook = WebhookChannel({"url": "https://example.com/"}, reveal, WebhookPost())
    failure = await refusal(webhook)
    assert (failure.reason, failure.retry) == ("not sent: env://ALERT_SECRET is not set", True)


async def test_nothing_that_is_logged_shows_the_secret_or_the_path(receiver: WebhookReceiver) -> None:
    # Whoever posts to a chat has the credential in the path.
    with capture_logs() as logs:
        await channel(receiver.url(f"/{SECRET}")).send(NOTIFICATION)
        receiver.answers = lambda _: answer(500)
        await refusal(channel(receiver.url(f"/{SECRET}")))
        await refusal(channel(f"http://localhost:9/{SECRET}", allow_private=False))
    assert SECRET not in str(logs)
