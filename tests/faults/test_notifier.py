"""What is to be told is told: by senders that die, to receivers that are slow, dead, or out of order."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from central_hub import process
from central_hub.connections.database import Database
from central_hub.connections.webhook_post import WebhookPost
from central_hub.embedded import Endpoints
from central_hub.errors import NotFound
from central_hub.monitoring import notifier as notifying
from central_hub.monitoring.channels.channel import Channel
from central_hub.monitoring.channels.webhook import WebhookChannel
from central_hub.monitoring.notification import Event, ToldAlert, compose
from central_hub.monitoring.notifier import Notifier
from central_hub.monitoring.rules import ChannelType, Severity
from central_hub.storage import notifications
from central_hub.storage.notification_values import NewNotification, Notification, NotificationState
from tests.conftest import DatabaseUrls, create_database, hub_settings
from tests.wire.waiting import until
from tests.wire.webhook_receiver import WebhookReceiver, answer, webhook_receiver

SECRET = "marker-Xq7-never-shown"


class Scene:
    """A database, a receiver, and as many notifiers as a test wants."""

    def __init__(
        self, urls: DatabaseUrls, database: Database, receiver: WebhookReceiver, stack: AsyncExitStack
    ) -> None:
        self.urls = urls
        self.database = database
        self.receiver = receiver
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.stack = stack

    def webhook(self, path: str = "/") -> WebhookChannel:
        options = {"url": self.receiver.url(path), "secret": SECRET, "allow_private": True}
        return WebhookChannel(options, lambda given: given, WebhookPost())

    def notifier(self, own_id: str = "a", *, claim_seconds: float = 45.0, **channels: Channel) -> Notifier:
        known = {"on-call": self.webhook(), **channels}
        return Notifier(
            self.database,
            own_id,
            known.get,
            on_told=lambda kind, outcome: self.outcomes.update([(kind, outcome)]),
            claim_seconds=claim_seconds,
        )

    async def running(self, notifier: Notifier) -> Notifier:
        await self.stack.enter_async_context(running(notifier))
        return notifier

    async def add(self, channel: str = "on-call", number: int = 1) -> list[str]:
        new = [new_notification(channel) for _ in range(number)]
        await self.database.transaction(lambda connection: notifications.add(connection, new))
        return [one.id for one in new]

    async def find(self, notification_id: str) -> Notification:
        async with self.database.reading() as connection:
            found = await notifications.find(connection, notification_id)
        assert found is not None
        return found

    async def is_now(self, state: NotificationState, *ids: str, within: float = 30) -> None:
        deadline = time.monotonic() + within
        while {(await self.find(one)).state for one in ids} != {state}:
            assert time.monotonic() < deadline, f"not {state} within {within} s"
            await asyncio.sleep(0.05)

    async def failed(self, notification_id: str, *, attempts: int = 1) -> Notification:
        """It, as soon as it is written down that so many attempts have failed."""
        deadline = time.monotonic() + 30
        while True:
            found = await self.find(notification_id)
            if found.attempts == attempts and found.due_at > datetime.now(UTC):
                return found
            assert time.monotonic() < deadline, f"it has not failed {attempts} times: {found}"
            await asyncio.sleep(0.02)

    async def pass_time(self, by: timedelta) -> None:
        """Let that much time pass for what waits."""
        owner = await asyncpg.connect(self.urls.owner)
        await owner.execute("UPDATE notifications SET due_at = due_at - $1::interval", by)
        await owner.close()


class Hanging:
    """A channel that never comes back."""

    type = ChannelType.APPRISE

    def __init__(self) -> None:
        self.begun = 0

    async def send(self, _: object) -> None:
        self.begun += 1
        await asyncio.sleep(3600)


class Failing:
    """A channel with a mistake in it, that quotes what nobody may see."""

    type = ChannelType.NATS

    async def send(self, _: object) -> None:
        raise ZeroDivisionError(SECRET)


@asynccontextmanager
async def running(notifier: Notifier) -> AsyncIterator[None]:
    task = asyncio.create_task(notifier.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def new_notification(channel: str) -> NewNotification:
    alert = ToldAlert(
        id="a1",
        rule="infrastructure-down",
        severity=Severity.CRITICAL,
        subject="postgresql",
        state="firing",
        summary="postgresql is unhealthy",
        reason="refused",
        since=datetime(2026, 11, 29, tzinfo=UTC),
    )
    told = compose(secrets.token_hex(16), Event.FIRING, [alert], "hub-7")
    return NewNotification(told.id, channel, told.payload)


@pytest.fixture
async def scene(servers: Endpoints, tmp_path: Path) -> AsyncIterator[Scene]:
    urls = await create_database(servers)
    await process.migrate(hub_settings(servers, urls, tmp_path))
    database = Database(urls.running)
    async with AsyncExitStack() as stack, webhook_receiver() as receiver:
        yield Scene(urls, database, receiver, stack)
        await stack.aclose()
    await database.close()


def ids(receiver: WebhookReceiver) -> list[str]:
    return [received.id for received in receiver.received]


async def test_what_is_due_is_told_at_once_when_somebody_says_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "LOOK_SECONDS", 60.0)
    notifier = await scene.running(scene.notifier())
    await asyncio.sleep(0.2)
    told = await scene.add()
    notifier.wake()
    await until(lambda: ids(scene.receiver) == told)
    await scene.is_now(NotificationState.SENT, *told)
    assert scene.outcomes == {("webhook", "sent"): 1}


async def test_what_nobody_woke_it_for_is_found_within_a_moment(scene: Scene) -> None:
    await scene.running(scene.notifier())
    told = await scene.add()
    await until(lambda: ids(scene.receiver) == told)


async def test_a_thousand_at_once_are_told_once_each_by_three_replicas(scene: Scene) -> None:
    told = await scene.add(number=1_000)
    for own_id in "abc":
        await scene.running(scene.notifier(own_id))
    await scene.is_now(NotificationState.SENT, *told[-5:], within=90)
    await until(lambda: scene.outcomes[("webhook", "sent")] == 1_000, within=60)
    assert sorted(ids(scene.receiver)) == sorted(told)


async def test_a_channel_that_hangs_holds_up_no_other(scene: Scene) -> None:
    hanging = Hanging()
    await scene.add("hanging", number=200)
    notifier = await scene.running(scene.notifier(hanging=hanging))
    await until(lambda: hanging.begun == notifying.PER_CHANNEL)
    told = await scene.add(number=50)
    notifier.wake()
    await scene.is_now(NotificationState.SENT, *told)
    assert hanging.begun == notifying.PER_CHANNEL


async def test_one_that_hangs_is_given_up_in_time_and_tried_later(scene: Scene) -> None:
    [told] = await scene.add("hanging")
    await scene.running(scene.notifier(claim_seconds=1.5, hanging=Hanging()))
    found = await scene.failed(told)
    assert scene.outcomes == {("apprise", "failed"): 1}
    assert (found.state, found.attempts, found.error) == (NotificationState.DUE, 1, "not delivered within 0.5 s")
    assert timedelta(seconds=2) < found.due_at - found.created_at < timedelta(minutes=1)


async def test_a_receiver_that_answers_500_for_an_hour_is_told_when_it_is_back(scene: Scene) -> None:
    scene.receiver.answers = lambda _: answer(500)
    [told] = await scene.add()
    notifier = await scene.running(scene.notifier())
    attempts = 0
    passed = timedelta(0)
    while passed < timedelta(hours=1):
        attempts += 1
        found = await scene.failed(told, attempts=attempts)
        pause = found.due_at - datetime.now(UTC)
        passed += pause
        await scene.pass_time(pause)
        if passed >= timedelta(hours=1):
            scene.receiver.answers = lambda _: answer(200)
        notifier.wake()
    await scene.is_now(NotificationState.SENT, told)
    assert attempts > 5
    assert (await scene.find(told)).attempts == attempts + 1
    assert set(ids(scene.receiver)) == {told}
    assert len({received.body for received in scene.receiver.received}) == 1
    assert passed < timedelta(hours=2)


async def test_who_is_never_reached_is_given_up_counted_and_told_of(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.receiver.answers = lambda _: answer(410)
    monkeypatch.setattr(notifying, "COUNT_SECONDS", 0.0)
    [told] = await scene.add()
    notifier = scene.notifier()
    with capture_logs() as logs:
        await scene.running(notifier)
        await scene.is_now(NotificationState.DEAD, told)
    assert [line["log_level"] for line in logs if line["event"] == "notification_given_up"] == ["error"]
    assert scene.outcomes == {("webhook", "dead"): 1}
    await until(lambda: notifier.counted.dead == 1)
    [dead] = await notifier.listed(NotificationState.DEAD, limit=10)
    assert (dead.id, dead.error) == (told, "answered 410")

    scene.receiver.answers = lambda _: answer(200)
    await notifier.redeliver(told)
    await scene.is_now(NotificationState.SENT, told)
    assert ids(scene.receiver) == [told, told]
    with pytest.raises(NotFound):
        await notifier.redeliver(told)
    with pytest.raises(NotFound):
        await notifier.redeliver("unknown")


async def test_after_a_day_of_attempts_it_is_given_up(scene: Scene) -> None:
    scene.receiver.answers = lambda _: answer(500)
    [told] = await scene.add()
    owner = await asyncpg.connect(scene.urls.owner)
    await owner.execute("UPDATE notifications SET attempts = 35")
    await owner.close()
    await scene.running(scene.notifier())
    await scene.is_now(NotificationState.DEAD, told)


async def test_a_channel_that_is_gone_keeps_what_is_due_on_it(scene: Scene) -> None:
    [told] = await scene.add("removed")
    await scene.running(scene.notifier())
    found = await scene.failed(told)
    assert scene.outcomes == {("unknown", "failed"): 1}
    assert (found.state, found.error) == (NotificationState.DUE, "there is no channel removed any more")


async def test_a_mistake_in_a_channel_is_told_without_what_it_quotes(scene: Scene) -> None:
    [told, other] = [*await scene.add("failing"), *await scene.add()]
    with capture_logs() as logs:
        await scene.running(scene.notifier(failing=Failing()))
        failed = await scene.failed(told)
        await scene.is_now(NotificationState.SENT, other)
    assert failed.error == "the hub made a mistake: ZeroDivisionError"
    assert any(line["event"] == "channel_failed" for line in logs)
    assert SECRET not in str(logs)


async def test_the_secret_is_in_nothing_that_is_kept_told_or_logged(scene: Scene) -> None:
    scene.receiver.answers = lambda _: answer(500)
    with capture_logs() as logs:
        [told] = await scene.add()
        await scene.running(scene.notifier())
        failed = await scene.failed(told)
    assert SECRET not in str(logs) + str(failed)
    assert SECRET.encode() not in scene.receiver.received[0].body
    assert SECRET not in str(scene.receiver.received[0].headers)


async def test_a_payload_that_this_version_cannot_read_is_left_to_another(scene: Scene) -> None:
    new = NewNotification("n1", "on-call", '{"version": 2}')
    await scene.database.transaction(lambda connection: notifications.add(connection, [new]))
    await scene.running(scene.notifier())
    failed = await scene.failed("n1")
    assert failed.error == "the payload cannot be read: it is of version 2, and this hub knows version 1"
    assert scene.receiver.received == []


async def test_who_stops_leaves_what_he_was_sending_to_others_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "_END_SECONDS", 0.1)
    [told] = await scene.add()
    async with running(scene.notifier("a", **{"on-call": Hanging()})):
        await until_claimed(scene, told)
    await scene.running(scene.notifier("b"))
    await until(lambda: ids(scene.receiver) == [told])


async def test_while_the_store_is_away_it_waits_and_what_was_sent_is_written_down_after(
    servers: Endpoints, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "LOOK_SECONDS", 0.1)
    arrived, may_end = asyncio.Event(), asyncio.Event()

    class Slow:
        type = ChannelType.LOG

        async def send(self, _: object) -> None:
            arrived.set()
            await may_end.wait()

    [told] = await scene.add("slow")
    notifier = await scene.running(scene.notifier(slow=Slow()))
    async with asyncio.timeout(30):
        await arrived.wait()
    await allow_connections(servers, scene.urls, allowed=False)
    may_end.set()
    await until(lambda: scene.outcomes[("log", "sent")] == 1)
    await asyncio.sleep(0.5)
    await allow_connections(servers, scene.urls, allowed=True)
    await scene.is_now(NotificationState.SENT, told)
    more = await scene.add()
    notifier.wake()
    await scene.is_now(NotificationState.SENT, *more)
    assert scene.outcomes[("log", "sent")] == 1


async def test_a_test_is_sent_without_the_outbox_and_says_what_came_of_it(scene: Scene) -> None:
    notifier = scene.notifier()
    tried = await notifier.send_test("on-call", by="anna", hub="hub-7")
    assert (tried.delivered, tried.reason) == (True, None)
    assert ids(scene.receiver) == [tried.id]
    scene.receiver.answers = lambda _: answer(403)
    tried = await notifier.send_test("on-call", by="anna", hub="hub-7")
    assert (tried.delivered, tried.reason) == (False, "answered 403")
    with pytest.raises(NotFound):
        await notifier.send_test("unknown", by="anna", hub="hub-7")


async def test_a_sender_that_is_killed_is_replaced_when_its_claim_has_run_out(scene: Scene) -> None:
    claim_seconds = 6.0
    [told] = await scene.add()
    killed = await start_sender(scene, "/hang", claim_seconds)
    await until(lambda: ids(scene.receiver) == [told], within=60)
    os.kill(killed.pid, signal.SIGKILL)
    await killed.wait()
    died = time.monotonic()
    owner = await asyncpg.connect(scene.urls.owner)
    claimed_until, now = await owner.fetchrow("SELECT claimed_until, clock_timestamp() FROM notifications")
    await owner.close()
    left = (claimed_until - now).total_seconds()
    await scene.running(scene.notifier("b", claim_seconds=claim_seconds))
    while time.monotonic() - died < left - 0.5:
        assert len(scene.receiver.received) == 1, "sent while the other one's claim holds"
        await asyncio.sleep(0.05)
    await until(lambda: len(scene.receiver.received) == 2)
    assert ids(scene.receiver) == [told, told]
    assert scene.receiver.received[0].body == scene.receiver.received[1].body
    await scene.is_now(NotificationState.SENT, told)


async def until_claimed(scene: Scene, notification_id: str) -> None:
    deadline = time.monotonic() + 30
    while (await scene.find(notification_id)).attempts == 0:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def allow_connections(servers: Endpoints, urls: DatabaseUrls, *, allowed: bool) -> None:
    """Close the database, whose connections end, or open it again."""
    name = sa.make_url(urls.running).database
    owner = await asyncpg.connect(servers.migration_database_url)
    await owner.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
    if not allowed:
        await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await owner.close()


async def start_sender(scene: Scene, path: str, claim_seconds: float) -> asyncio.subprocess.Process:
    """A notifier in a process of its own."""
    program = f"""
import asyncio
from central_hub.connections.database import Database
from central_hub.connections.webhook_post import WebhookPost
from central_hub.monitoring.channels.webhook import WebhookChannel
from central_hub.monitoring.notifier import Notifier
options = {{"url": {scene.receiver.url(path)!r}, "secret": "x", "allow_private": True}}
channel = WebhookChannel(options, lambda given: given, WebhookPost())
async def main():
    database = Database({scene.urls.running!r})
    notifier = Notifier(
        database, "killed", {{"on-call": channel}}.get, on_told=print, claim_seconds={claim_seconds!r}
    )
    await notifier.run()
asyncio.run(main())
"""
    sender = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    scene.stack.callback(lambda: sender.returncode is None and sender.kill())
    return sender
