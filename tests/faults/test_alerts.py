"""Hubs are killed and stopped between finding something out and having it told."""

import asyncio
import json
import random
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from central_hub.security.signing import SigningKey
from tests.faults.harness import Fleet, Hub, own_fleet
from tests.faults.report import report
from tests.integration.instances import Incarnation, beat, eventually, register
from tests.integration.watched_targets import truth
from tests.wire.webhook_receiver import Received, WebhookReceiver, webhook_receiver

POINTS = ("before_saving", "before_committing", "after_committing")
LONG = 90
"""Seconds that a starved machine may take for what takes two."""


class Refusal:
    """A service whose instance refuses its configuration, which is told at once."""

    def __init__(self, service: str, position: dict[str, Any], incarnation: Incarnation) -> None:
        self.service = service
        self._position = position
        self._incarnation = incarnation

    @classmethod
    async def begin(cls, hub: Hub) -> "Refusal":
        service = f"svc-{secrets.token_hex(4)}"
        stored = await hub.http.post(f"/api/v1/config/{service}", json={"config": {"n": 1}, "mode": "merge"})
        assert stored.status_code == 200, stored.text
        position = {"epoch": stored.json()["epoch"], "revision": stored.json()["revision"]}
        refusal = cls(service, position, await register(hub.http, service, lease_seconds=3600))
        answer = await beat(hub.http, refusal._incarnation, rejected={**position, "reason": "no"})
        assert answer.status_code == 200, answer.text
        return refusal

    async def end(self, hub: Hub) -> None:
        answer = await beat(hub.http, self._incarnation, applied=self._position)
        assert answer.status_code == 200, answer.text


async def states(fleet: Fleet, service: str) -> list[str]:
    connection = await fleet.as_superuser()
    try:
        return [row["state"] for row in await connection.fetch("SELECT state FROM alerts WHERE subject = $1", service)]
    finally:
        await connection.close()


async def told(fleet: Fleet) -> Counter[tuple[str, str]]:
    """How often each service was told of, by what was told."""
    connection = await fleet.as_superuser()
    try:
        rows = await connection.fetch("SELECT id, payload FROM notifications")
    finally:
        await connection.close()
    payloads = {row["id"]: json.loads(row["payload"]) for row in rows}
    return Counter((alert["subject"], each["event"]) for each in payloads.values() for alert in each["alerts"])


async def is_in(fleet: Fleet, refusal: Refusal, state: str) -> bool:
    return await states(fleet, refusal.service) == [state]


async def on_duty(fleet: Fleet) -> Hub | None:
    connection = await fleet.as_superuser()
    try:
        holder = await connection.fetchval("SELECT holder FROM duties WHERE name = 'alerts' AND until > now()")
    finally:
        await connection.close()
    keys = {SigningKey.load_or_create(hub.settings.signing_key_path).id: hub for hub in fleet.hubs}
    return keys.get(holder)


async def start_with_duty(fleet: Fleet, first: Hub, second: Hub, point: str, other_point: str = "") -> None:
    """Both anew: the first has the duty, and each breaks at its point."""
    await asyncio.gather(first.kill(), second.kill())
    await first.start(f"alert_quickly:{point}")
    await eventually(lambda: has_duty(fleet, first), within=LONG)
    await second.start(f"alert_quickly:{other_point}")


async def has_duty(fleet: Fleet, hub: Hub) -> bool:
    return await on_duty(fleet) is hub


async def survive_kills(fleet: Fleet, rng: random.Random, seed: int, *, kills: int) -> None:
    refusals = []
    points = Counter[str]()
    for _ in range(kills):
        first, second = rng.sample(fleet.hubs, 2)
        point = rng.choice(POINTS)
        await start_with_duty(fleet, first, second, point)
        refusal = await Refusal.begin(second)
        refusals.append(refusal)
        assert await asyncio.wait_for(first.ended(), LONG) == -9
        points[point] += 1
        await eventually(lambda refusal=refusal: is_in(fleet, refusal, "firing"), within=LONG)
    await asyncio.gather(*(hub.start("alert_quickly") for hub in fleet.hubs))
    for refusal in refusals:
        await refusal.end(fleet.hubs[0])
    for refusal in refusals:
        await eventually(lambda refusal=refusal: is_in(fleet, refusal, "resolved"), within=LONG)
    counts = await told(fleet)
    report("kills between detection and notification", kills=kills, **points, told=sum(counts.values()), seed=seed)
    expected = {(refusal.service, event): 1 for refusal in refusals for event in ("firing", "resolved")}
    assert {key: count for key, count in counts.items() if key in expected} == expected


@pytest.mark.timeout(400)
async def test_a_hub_that_is_killed_on_the_way_neither_loses_nor_doubles_an_alert(
    fleet: Fleet, rng: random.Random, seed: int
) -> None:
    await survive_kills(fleet, rng, seed, kills=8)


@pytest.mark.soak
async def test_fifty_kills_on_the_way(fleet: Fleet, rng: random.Random, seed: int) -> None:
    await survive_kills(fleet, rng, seed, kills=50)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
async def telling_fleet(receiver: WebhookReceiver) -> AsyncIterator[Fleet]:
    """Two hubs that tell the receiver of what is refused."""
    async with own_fleet(hubs=0) as fleet:
        (fleet.directory / "secret").write_text("marker-Xq7")
        file = fleet.directory / "infrastructure.yaml"
        file.write_text(f"""
version: 1
alerts:
  channels:
    on-call:
      type: webhook
      url: {receiver.url()}
      secret: {{$secret: "file://{fleet.directory}/secret"}}
      allow_private: true
  rules:
    config-rejected: {{notify: [log, on-call]}}
""")
        for _ in range(2):
            fleet.add_hub(infrastructure_file=file)
        yield fleet


@pytest.mark.timeout(400)
async def test_a_receiver_hears_of_everything_and_knows_what_it_hears_twice_by_its_id(
    telling_fleet: Fleet, receiver: WebhookReceiver, rng: random.Random, seed: int
) -> None:
    refusals = []
    for point in rng.sample((*POINTS, "after_sending", "after_sending"), 5):
        first, second = rng.sample(telling_fleet.hubs, 2)
        is_sent = point == "after_sending"
        await start_with_duty(telling_fleet, first, second, point, "not_sending" if is_sent else "")
        refusal = await Refusal.begin(second)
        assert await asyncio.wait_for(first.ended(), LONG) == -9
        if is_sent:
            await second.kill()
            await second.start("alert_quickly")
        refusals.append(refusal)
        await eventually(lambda refusal=refusal: is_in(telling_fleet, refusal, "firing"), within=LONG)
        # What is left would be sent by the next one, and be what that one dies of.
        await eventually(lambda: nothing_is_due(telling_fleet), within=LONG)
    await asyncio.gather(*(hub.start("alert_quickly") for hub in telling_fleet.hubs))
    for refusal in refusals:
        await refusal.end(telling_fleet.hubs[0])
    expected = {(refusal.service, event) for refusal in refusals for event in ("firing", "resolved")}
    await eventually(lambda: truth(deliveries(receiver).keys() == expected), within=LONG)
    await eventually(lambda: nothing_is_due(telling_fleet), within=LONG)

    heard = deliveries(receiver)
    doubles = sum(len(each) - 1 for each in heard.values())
    report(
        "kills with a receiver", kills=5, told=len(heard), deliveries=len(receiver.received), doubles=doubles, seed=seed
    )
    assert heard.keys() == expected
    assert {len({received.id for received in each}) for each in heard.values()} == {1}
    assert {len({received.body for received in each}) for each in heard.values()} == {1}
    assert doubles >= 2, "a hub that dies before it has written down a delivery leaves it to be made once more"


def deliveries(receiver: WebhookReceiver) -> dict[tuple[str, str], list[Received]]:
    """What the receiver was told, by the service and by what happened to it."""
    found: dict[tuple[str, str], list[Received]] = {}
    for received in receiver.received:
        told = json.loads(received.body)
        for alert in told["alerts"]:
            found.setdefault((alert["subject"], told["event"]), []).append(received)
    return found


async def nothing_is_due(fleet: Fleet) -> bool:
    connection = await fleet.as_superuser()
    try:
        return await connection.fetchval("SELECT count(*) FROM notifications WHERE state <> 'sent'") == 0
    finally:
        await connection.close()


@pytest.mark.timeout(300)
async def test_a_hub_that_was_stopped_finds_its_duty_taken_and_writes_nothing(fleet: Fleet) -> None:
    first, second = fleet.hubs
    await start_with_duty(fleet, first, second, "")
    first.freeze()
    try:
        await eventually(lambda: has_duty(fleet, second), within=LONG)
        refusal = await Refusal.begin(second)
        await eventually(lambda: is_in(fleet, refusal, "firing"), within=LONG)
    finally:
        first.thaw()
    await first.ready()
    await asyncio.sleep(2)  # ten looks of each
    assert await has_duty(fleet, second)
    assert await states(fleet, refusal.service) == ["firing"]
    assert (await told(fleet))[refusal.service, "firing"] == 1


@pytest.mark.timeout(300)
async def test_a_hub_that_is_stopped_in_the_middle_of_a_transition_keeps_nobody_from_it(fleet: Fleet) -> None:
    first, second = fleet.hubs
    await start_with_duty(fleet, first, second, "freezing")
    refusal = await Refusal.begin(second)

    async def is_frozen() -> bool:
        return first.is_frozen()

    await eventually(is_frozen, within=LONG)
    try:
        await eventually(lambda: is_in(fleet, refusal, "firing"), within=LONG)
    finally:
        first.thaw()
    await first.ready()
    await asyncio.sleep(2)
    assert await states(fleet, refusal.service) == ["firing"]
    assert (await told(fleet))[refusal.service, "firing"] == 1


@pytest.mark.timeout(300)
async def test_a_store_that_is_gone_is_told_to_the_log_once_and_recorded_when_it_is_back(fleet: Fleet) -> None:
    first, second = fleet.hubs
    await start_with_duty(fleet, first, second, "")
    before, before_of_second = len(told_to_log(first)), len(told_to_log(second))
    await fleet.postgres.kill()

    async def is_told(times: int) -> bool:
        return len(told_to_log(first)) - before == times

    await eventually(lambda: is_told(1), within=LONG)
    await asyncio.sleep(3)
    assert await is_told(1)
    await fleet.postgres.start()
    await eventually(lambda: is_told(2), within=LONG)
    own = SigningKey.load_or_create(first.settings.signing_key_path).id

    async def is_recorded() -> bool:
        return await states(fleet, own) == ["resolved"]

    await eventually(is_recorded, within=LONG)
    await asyncio.sleep(3)  # fifteen looks
    assert await is_recorded()
    assert await is_told(2)
    assert told_to_log(first)[before:] == ["firing", "resolved"]
    assert told_to_log(second)[before_of_second:] == ["firing", "resolved"], "each hub speaks for itself"


def told_to_log(hub: Hub) -> list[str]:
    """What the log says of stores that are not reached."""
    return re.findall(r"\balert_(firing|resolved)\b.*does not reach PostgreSQL", hub.log())
