"""`central-hub alerts` as a program, against a real hub."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from central_hub.storage.alert_values import Affected, AlertState
from tests.conftest import RunningHub
from tests.integration.alert_rows import forget_all, stop_evaluating, store, store_of
from tests.integration.test_cli import Run, cli

__all__ = ["cli"]


@pytest.fixture(autouse=True)
async def nobody_looks(hub: RunningHub) -> AsyncIterator[None]:
    stop_evaluating(hub)
    yield
    await forget_all(hub)


async def test_open_alerts_are_listed_with_who_is_told_of_them(cli: Run, hub: RunningHub) -> None:
    assert "no alert is open" in (await cli("alerts")).err
    now = datetime.now(UTC)
    hit = (Affected("service", "billing", "default"),)
    down = await store(hub, affected=hit)
    await store_of(hub, "billing", caused_by=("postgresql",), is_told=False, since=now - timedelta(seconds=1))
    await store(hub, subject="nats", state=AlertState.RESOLVED, resolved_at=now, since=now - timedelta(seconds=2))
    shown = await cli("alerts")
    assert shown.code == 0, shown.err
    _, first, second = (" ".join(line.split()) for line in shown.out.splitlines())
    assert first.startswith(f"{down.id[:8]} critical firing postgresql 20")
    assert first.endswith("postgresql is down to log, with 1 affected")
    assert second.endswith("billing is unhealthy with postgresql")
    everything = (await cli("alerts", "--state", "all", "--json")).json
    assert [alert["subject"] for alert in everything] == ["postgresql", "billing", "nats"]
    only = await cli("alerts", "list", "--subject", "billing", "--json")
    assert [alert["subject"] for alert in only.json] == ["billing"]


async def test_a_typo_is_wrong_usage_and_a_name_that_is_also_a_command_is_none(cli: Run, hub: RunningHub) -> None:
    await store_of(hub, "test")
    found = await cli("alerts", "--subject", "test", "--json")
    assert [alert["subject"] for alert in found.json] == ["test"]
    wrong = await cli("alerts", "tset", "log")
    assert (wrong.code, "No such command 'tset'" in wrong.err) == (2, True)
    assert (await cli("alerts", "--severity", "bad")).code == 2
    assert (await cli("alerts", "--state", "bad")).code == 2


async def test_the_beginning_of_an_id_is_enough(cli: Run, hub: RunningHub) -> None:
    alert, _ = await store(hub, id="aa00000000000001"), await store(hub, id="ab00000000000001", subject="nats")
    done = await cli("alerts", "ack", "aa", "-m", "I am on it")
    assert (done.code, done.out.strip()) == (0, "infrastructure-down postgresql is acknowledged by admin")
    assert "acknowledged by admin" in (await cli("alerts")).out
    both = await cli("alerts", "ack", "a")
    assert (both.code, "2 open alerts have an id that begins with a" in both.err) == (2, True)
    assert (await cli("alerts", "ack", "ff")).code == 2
    assert (await cli("alerts", "ack", "../x")).code == 2
    assert (await cli("alerts", "ack", alert.id, "--json")).json["id"] == alert.id


async def test_silences_are_made_listed_and_ended(cli: Run, hub: RunningHub) -> None:
    alert = await store(hub)
    assert "nothing is silenced" in (await cli("alerts", "silences")).err
    assert (await cli("alerts", "silence", alert.id[:8], "--for", "soon")).code == 2
    made = await cli("alerts", "silence", alert.id[:8], "--for", "2h", "-m", "new disks", "--json")
    assert made.json["reason"] == "new disks"
    assert "is silenced until" in (await cli("alerts", "silence", alert.id, "--for", "1d")).out
    rows = [" ".join(line.split()) for line in (await cli("alerts", "silences")).out.splitlines()]
    assert rows[1].startswith(f"{made.json['id']} infrastructure-down postgresql 20")
    assert rows[1].endswith("admin new disks")
    ended = await cli("alerts", "unsilence", made.json["id"])
    assert ended.out.strip() == f"silence {made.json['id']} has ended"
    assert (await cli("alerts", "unsilence", made.json["id"])).code == 1


async def test_a_channel_is_tried(cli: Run, hub: RunningHub) -> None:
    assert "was delivered on log" in (await cli("alerts", "test", "log")).out
    refused = await cli("alerts", "test", "pigeon")
    assert (refused.code, "there is no channel pigeon" in refused.err) == (1, True)


async def test_top_shows_what_fires_above_everything_else(cli: Run, hub: RunningHub) -> None:
    await store(hub, affected=(Affected("service", "billing", "default"),))
    await store_of(hub, "billing", caused_by=("postgresql",))
    shown = (await cli("top")).out
    assert "critical: postgresql is down (1 affected)" in shown
    assert "billing is unhealthy" not in shown
    assert len((await cli("top", "--json")).json["alerts"]) == 2
