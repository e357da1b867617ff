"""The channels of alerts beside webhooks: the log, Apprise, and the bus."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from structlog.testing import capture_logs

from central_hub.connections.bus import Bus
from central_hub.connections.link import Link
from central_hub.embedded import Endpoints
from central_hub.monitoring.channels import apprise
from central_hub.monitoring.channels.apprise import MAX_AT_ONCE, AppriseChannel, AppriseThreads
from central_hub.monitoring.channels.channel import NotDelivered
from central_hub.monitoring.channels.log import LogChannel, tell_now
from central_hub.monitoring.channels.nats import NatsChannel
from central_hub.monitoring.notification import Event, Notification, ToldAlert, compose
from central_hub.monitoring.rules import Severity
from central_hub.security.signing import Signer, SigningKey, is_signed
from central_hub_client.wire import HUB_SIGNATURE, MAX_PUSHED_BYTES
from tests.wire.waiting import until
from tests.wire.webhook_receiver import WebhookReceiver, answer, webhook_receiver

SECRET = "marker-Xq7-never-shown"


def notification(*severities: Severity, event: Event = Event.FIRING, reason: str = "refused") -> Notification:
    alerts = [
        ToldAlert(
            id=f"a{number}",
            rule="infrastructure-down",
            severity=severity,
            subject="postgresql",
            state=event.value,
            summary="postgresql is unhealthy",
            reason=reason,
            since=datetime(2026, 11, 29, tzinfo=UTC),
        )
        for number, severity in enumerate(severities)
    ]
    return compose("n1", event, alerts, "hub-7")


class TestLog:
    async def test_every_alert_is_a_line_as_loud_as_it_matters(self) -> None:
        with capture_logs() as logs:
            await LogChannel().send(notification(Severity.INFO, Severity.WARNING, Severity.CRITICAL))
        assert [(line["event"], line["log_level"], line["alert"]) for line in logs] == [
            ("alert_firing", "info", "a0"),
            ("alert_firing", "warning", "a1"),
            ("alert_firing", "error", "a2"),
        ]
        assert logs[0]["subject"] == "postgresql"
        assert logs[0]["reason"] == "refused"

    def test_that_it_is_over_is_good_news(self) -> None:
        with capture_logs() as logs:
            tell_now(notification(Severity.CRITICAL, event=Event.RESOLVED))
        assert [(line["event"], line["log_level"]) for line in logs] == [("alert_resolved", "info")]


class TestApprise:
    @pytest.fixture
    async def receiver(self) -> AsyncIterator[WebhookReceiver]:
        async with webhook_receiver() as running:
            yield running

    @pytest.fixture
    def root_log(self) -> Iterator[StringIO]:
        """What the hub would log at its most talkative level."""
        names = (None, "apprise", "urllib3", "requests")
        levels = {name: logging.getLogger(name).level for name in names}
        handler = logging.StreamHandler(StringIO())
        logging.getLogger().addHandler(handler)
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield handler.stream
        logging.getLogger().removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

    def channel(self, url: object, threads: AppriseThreads | None = None) -> AppriseChannel:
        def reveal(options: Mapping[str, Any]) -> Mapping[str, Any]:
            return options | {"url": url}

        reference = {"url": {"$secret": "env://ALERT_CHAT_URL"}}
        return AppriseChannel(reference, reveal, threads or AppriseThreads())

    async def refusal(self, channel: AppriseChannel) -> str:
        with pytest.raises(NotDelivered) as caught:
            await channel.send(notification(Severity.CRITICAL))
        assert SECRET not in caught.value.reason
        assert caught.value.retry
        return caught.value.reason

    async def test_people_get_the_text(self, receiver: WebhookReceiver) -> None:
        told = notification(Severity.CRITICAL)
        await self.channel(f"json://127.0.0.1:{receiver.port}/{SECRET}").send(told)
        [received] = receiver.received
        sent = received.body.decode()
        assert "postgresql is unhealthy" in sent
        assert "Why: refused" in sent
        assert '"failure"' in sent

    async def test_of_a_text_that_is_too_long_the_beginning_is_sent(self, receiver: WebhookReceiver) -> None:
        told = notification(*[Severity.CRITICAL] * 20, reason="long " * 1000)
        assert len(told.body) > 15_000
        receiver.answers = lambda _: answer(200)
        await self.channel(f"ntfy://127.0.0.1:{receiver.port}/topic").send(told)
        [received] = receiver.received
        sent = json.loads(received.body)["message"]
        assert sent.startswith("postgresql is unhealthy")
        assert len(sent) < 8_000

    async def test_what_it_cannot_deliver_is_not_delivered_and_its_url_shown_nowhere(
        self, receiver: WebhookReceiver, root_log: StringIO, capfd: pytest.CaptureFixture[str]
    ) -> None:
        receiver.answers = lambda _: answer(500)
        with capture_logs() as logs:
            assert await self.refusal(self.channel(f"json://127.0.0.1:{receiver.port}/{SECRET}")) == (
                "Apprise could not deliver it"
            )
            reason = await self.refusal(self.channel(f"nothing-of-the-kind://{SECRET}"))
            assert reason == "not sent: Apprise does not understand the url"
        logging.getLogger("another").debug("the log is listened to")
        shown = capfd.readouterr()
        assert SECRET not in root_log.getvalue() + str(logs) + shown.out + shown.err
        assert "the log is listened to" in root_log.getvalue()
        assert len(receiver.received) >= 1

    async def test_an_url_of_several_services_is_refused_before_any_is_told(self, receiver: WebhookReceiver) -> None:
        urls = f"json://127.0.0.1:{receiver.port}/a, json://127.0.0.1:{receiver.port}/b"
        assert "make a channel of each" in await self.refusal(self.channel(urls))
        assert receiver.received == []

    async def test_an_url_that_is_none_is_told(self) -> None:
        assert await self.refusal(self.channel(None)) == "not sent: url must be a URL of Apprise"

    async def test_one_that_hangs_is_left_in_time_and_not_too_many_are_begun(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(apprise, "TIMEOUT_SECONDS", 0.3)
        end = threading.Event()
        threads = AppriseThreads()

        async def hang() -> str:
            with pytest.raises(NotDelivered) as caught:
                await threads.run(lambda: end.wait(60) and None)
            return caught.value.reason

        begun = time.monotonic()
        reasons = await asyncio.gather(*(hang() for _ in range(MAX_AT_ONCE)))
        assert set(reasons) == {"Apprise did not deliver it within 0.3 s"}
        assert time.monotonic() - begun < 10
        assert await hang() == f"{MAX_AT_ONCE} others are still being sent by Apprise"
        end.set()
        done: list[int] = []

        async def try_again() -> bool:
            try:
                await threads.run(lambda: done.append(1))
            except NotDelivered:
                return False
            return True

        deadline = time.monotonic() + 10
        while not await try_again():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert done == [1]

    async def test_what_it_raises_is_not_quoted(self) -> None:
        def work() -> None:
            raise RuntimeError(SECRET)

        with capture_logs() as logs, pytest.raises(NotDelivered, match="Apprise failed with RuntimeError"):
            await AppriseThreads().run(work)
        assert SECRET not in str(logs)


class TestNats:
    @pytest.fixture
    def key(self, tmp_path: Any) -> SigningKey:
        return SigningKey.load_or_create(tmp_path / "signing.key")

    @pytest.fixture
    async def bus(self, servers: Endpoints) -> AsyncIterator[Bus]:
        async def connected() -> None: ...

        bus = Bus([servers.nats_url], Link("nats", is_needed=False), on_message=lambda *_: None, on_connected=connected)
        bus.start()
        await until(lambda: bus.is_answering, within=30)
        yield bus
        await bus.stop()

    def channel(self, bus: Bus | None, key: SigningKey) -> NatsChannel:
        return NatsChannel(bus, Signer(key.id, key.sign, lambda *_: False))

    async def test_who_listens_hears_it_signed_on_the_subject_of_its_severity(
        self, servers: Endpoints, bus: Bus, key: SigningKey
    ) -> None:
        listener = Client()
        await listener.connect(servers.nats_url)
        subscription = await listener.subscribe("alerts.>")
        await listener.flush()
        told = notification(Severity.WARNING, Severity.CRITICAL)
        await self.channel(bus, key).send(told)
        message = await subscription.next_msg(timeout=10)
        await listener.close()
        assert (message.subject, message.data.decode()) == ("alerts.critical", told.payload)
        assert message.headers is not None
        assert is_signed(message.data, message.headers[HUB_SIGNATURE], key.public_key)

    async def test_the_fleet_is_not_told_of_alerts(self, servers: Endpoints, bus: Bus, key: SigningKey) -> None:
        errors: list[Exception] = []

        async def on_error(error: Exception) -> None:
            errors.append(error)

        member = Client()
        await member.connect(servers.nats_client_url, error_cb=on_error)
        subscription = await member.subscribe("alerts.>")
        await self.channel(bus, key).send(notification(Severity.CRITICAL))
        with pytest.raises((NatsError, TimeoutError)):
            await subscription.next_msg(timeout=0.5)
        await until(lambda: any("permissions violation" in str(error).lower() for error in errors))
        await member.close()

    async def test_while_the_bus_is_down_it_is_not_delivered(
        self, servers: Endpoints, bus: Bus, key: SigningKey
    ) -> None:
        await bus.stop()
        with pytest.raises(NotDelivered) as caught:
            await self.channel(bus, key).send(notification(Severity.CRITICAL))
        assert caught.value.retry
        with pytest.raises(NotDelivered, match="CENTRAL_HUB_NATS_URL is not set"):
            await self.channel(None, key).send(notification(Severity.CRITICAL))

    async def test_one_that_is_too_large_for_the_bus_is_not_tried_again(self, bus: Bus, key: SigningKey) -> None:
        with pytest.raises(NotDelivered) as caught:
            await self.channel(bus, key).send(notification(Severity.CRITICAL, reason="x" * MAX_PUSHED_BYTES))
        assert not caught.value.retry
        assert bus.is_answering
