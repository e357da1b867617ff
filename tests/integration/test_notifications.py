"""The outbox of alerts, in a real PostgreSQL: what is stored, claimed, delivered, given up."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from central_hub import process
from central_hub.connections.database import Database
from central_hub.embedded import Endpoints
from central_hub.storage import notifications
from central_hub.storage.notification_values import Counted, NewNotification, Notification, NotificationState
from tests.conftest import DatabaseUrls, create_database, hub_settings

SECONDS = 30.0


@pytest.fixture
async def urls(servers: Endpoints, tmp_path: Path) -> DatabaseUrls:
    made = await create_database(servers)
    await process.migrate(hub_settings(servers, made, tmp_path))
    return made


@pytest.fixture
async def database(urls: DatabaseUrls) -> AsyncIterator[Database]:
    made = Database(urls.running)
    yield made
    await made.close()


def new(channel: str = "on-call") -> NewNotification:
    return NewNotification(secrets.token_hex(8), channel, '{"version": 1}')


async def add(database: Database, *new: NewNotification) -> None:
    await database.transaction(lambda connection: notifications.add(connection, new))


async def claim(
    database: Database, by: str = "a", *, per_channel: int = 16, busy: dict[str, int] | None = None
) -> list[Notification]:
    return await database.transaction(
        lambda connection: notifications.claim(
            connection, by, seconds=SECONDS, per_channel=per_channel, busy=busy or {}
        )
    )


async def failed(
    database: Database, claimed: Notification, by: str = "a", *, again_after: timedelta | None = timedelta(0)
) -> bool:
    return await database.transaction(
        lambda connection: notifications.failed(connection, claimed, by, error="no", again_after=again_after)
    )


async def find(database: Database, notification_id: str) -> Notification:
    async with database.reading() as connection:
        found = await notifications.find(connection, notification_id)
    assert found is not None
    return found


async def set_back(urls: DatabaseUrls, by: timedelta) -> None:
    """As if the store's clock had been set back by that much, or forward where it is negative."""
    owner = await asyncpg.connect(urls.owner)
    await owner.execute(
        "UPDATE notifications SET"
        " created_at = created_at + $1, due_at = due_at + $1, claimed_until = claimed_until + $1",
        by,
    )
    await owner.close()


async def test_what_is_stored_is_claimed_once_and_as_it_was(database: Database) -> None:
    told = new()
    await add(database, told)
    [claimed] = await claim(database)
    assert (claimed.id, claimed.channel, claimed.payload) == (told.id, told.channel, told.payload)
    assert (claimed.state, claimed.attempts, claimed.error) == (NotificationState.DUE, 1, None)
    assert await claim(database, "b") == []


async def test_a_transaction_that_fails_tells_nothing(database: Database) -> None:
    async def work(connection: notifications.AsyncConnection) -> None:
        await notifications.add(connection, [new()])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transaction(work)
    assert await claim(database) == []


async def test_many_who_claim_at_once_share_without_doubles(database: Database) -> None:
    told = [new(channel) for channel in ("on-call", "chat") for _ in range(100)]
    await add(database, *told)
    claimed: list[str] = []

    async def work(by: str) -> None:
        while found := await claim(database, by, per_channel=7):
            claimed.extend(one.id for one in found)

    await asyncio.gather(*(work(f"replica-{number}") for number in range(8)))
    # Who found all that is due locked by others stopped; what he left was claimed by them.
    assert sorted(claimed) == sorted(one.id for one in told)


async def test_a_channel_gets_no_more_than_it_has_room_for(database: Database) -> None:
    await add(database, *(new("slow") for _ in range(5)), *(new("quick") for _ in range(5)))
    claimed = await claim(database, per_channel=3, busy={"slow": 3, "other": 1})
    assert [one.channel for one in claimed] == ["quick"] * 3
    claimed = await claim(database, per_channel=3, busy={"slow": 2, "quick": 3})
    assert [one.channel for one in claimed] == ["slow"]


async def test_a_claim_that_ran_out_is_taken_over_with_the_same_id(urls: DatabaseUrls, database: Database) -> None:
    await add(database, told := new())
    [first] = await claim(database)
    await set_back(urls, -timedelta(seconds=SECONDS - 5))
    assert await claim(database, "b") == []
    await set_back(urls, -timedelta(seconds=6))
    [second] = await claim(database, "b")
    assert (second.id, second.payload, second.attempts) == (told.id, told.payload, 2)
    # The first one comes late: its failure changes nothing, a success would be one.
    assert not await failed(database, first)
    assert (await find(database, told.id)).state is NotificationState.DUE
    await database.transaction(lambda connection: notifications.sent(connection, told.id))
    assert not await failed(database, second, "b")
    assert (await find(database, told.id)).state is NotificationState.SENT


async def test_what_failed_is_due_again_later(urls: DatabaseUrls, database: Database) -> None:
    await add(database, told := new())
    [claimed] = await claim(database)
    assert await failed(database, claimed, again_after=timedelta(minutes=5))
    assert await claim(database) == []
    await set_back(urls, -timedelta(minutes=5))
    [again] = await claim(database, "b")
    assert (again.id, again.attempts, again.error) == (told.id, 2, "no")


async def test_claims_that_are_given_back_are_free_at_once(database: Database) -> None:
    await add(database, told := new())
    await claim(database)
    await database.transaction(lambda connection: notifications.release(connection, [told.id], "b"))
    assert await claim(database, "b") == []
    await database.transaction(lambda connection: notifications.release(connection, [told.id], "a"))
    assert [one.id for one in await claim(database, "b")] == [told.id]


async def test_a_clock_that_is_set_back_holds_nothing_up(urls: DatabaseUrls, database: Database) -> None:
    await add(database, tried := new(), claimed := new())
    [first, second] = await claim(database)
    assert {first.id, second.id} == {tried.id, claimed.id}
    await failed(database, first, again_after=timedelta(minutes=5))
    await add(database, untried := new())
    await set_back(urls, timedelta(days=1))
    assert {one.id for one in await claim(database, "b")} == {first.id, second.id, untried.id}


async def test_what_was_given_up_is_listed_and_sent_again_when_somebody_wants_it(database: Database) -> None:
    await add(database, told := new(), other := new())
    for one in await claim(database):
        again_after = None if one.id == told.id else timedelta(minutes=5)
        assert await failed(database, one, again_after=again_after)
    async with database.reading() as connection:
        assert await notifications.count(connection) == Counted(due=1, dead=1)
        [dead] = await notifications.latest(connection, NotificationState.DEAD, limit=10)
    assert (dead.id, dead.error, dead.attempts) == (told.id, "no", 1)
    assert dead.ended_at is not None
    assert await claim(database) == []

    assert await database.transaction(lambda connection: notifications.redeliver(connection, other.id)) is None
    again = await database.transaction(lambda connection: notifications.redeliver(connection, told.id))
    assert again is not None
    assert (again.state, again.attempts, again.ended_at) == (NotificationState.DUE, 0, None)
    assert [one.id for one in await claim(database)] == [told.id]


async def test_what_ended_long_ago_is_forgotten_and_what_is_due_never(urls: DatabaseUrls, database: Database) -> None:
    await add(database, sent := new(), due := new(), dead := new())
    for one in await claim(database):
        if one.id == dead.id:
            await failed(database, one, again_after=None)
    await database.transaction(lambda connection: notifications.sent(connection, sent.id))
    await set_back(urls, -timedelta(days=40))
    await database.transaction(lambda connection: notifications.forget_old(connection, timedelta(days=30)))
    assert (await find(database, sent.id)).state is NotificationState.SENT
    await database.transaction(lambda connection: notifications.forget_old(connection, timedelta(0)))
    async with database.reading() as connection:
        assert [await notifications.find(connection, one.id) is None for one in (sent, due, dead)] == [
            True,
            False,
            True,
        ]
