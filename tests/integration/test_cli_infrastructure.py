"""`central-hub infra` as a program, and the infrastructure in `central-hub top`."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from central_hub.monitoring.infrastructure import Maintenance
from tests.conftest import RunningHub
from tests.integration.instances import eventually
from tests.integration.test_cli import Run, cli
from tests.integration.watched_targets import Watching, component, listening, state, truth

__all__ = ["cli"]


@pytest.fixture
async def watched(hub: RunningHub) -> AsyncIterator[RunningHub]:
    """A hub that watches one component that is well and one that is not."""
    now = datetime.now(UTC)
    disks = Maintenance(frozenset({"zdb"}), now - timedelta(hours=1), now + timedelta(hours=1), "new disks")
    async with listening() as port:
        secret = {"password": {"$secret": "env://PASSWORD"}}
        down = component("zdb", 1)
        watching = Watching([hub])
        watching.be([component("cache", port), replace(down, connection={**down.connection, **secret})], disks)
        await eventually(lambda: truth((state(hub, "cache"), state(hub, "zdb")) == ("healthy", "unhealthy")))
        yield hub
        watching.be([])


def lines(out: str) -> list[str]:
    return [" ".join(line.split()) for line in out.splitlines()]


async def test_without_a_file_there_is_nothing_and_it_says_why(cli: Run) -> None:
    nothing = await cli("infra")
    assert (nothing.code, nothing.out) == (0, "")
    assert "CENTRAL_HUB_INFRASTRUCTURE_FILE" in nothing.err


async def test_the_list_is_shown_by_default(cli: Run, watched: RunningHub) -> None:
    shown = await cli("infra")
    assert shown.code == 0, shown.err
    rows = lines(shown.out)
    assert rows[0] == "COMPONENT TYPE STATE SINCE LATENCY REASON"
    assert rows[1].startswith("cache tcp healthy 20")
    assert rows[2].startswith("zdb tcp unhealthy, maintenance 20")
    assert rows[2].endswith("the connection was refused")
    only = await cli("infra", "--url", watched.url, "--state", "unhealthy", "--json")
    assert [each["name"] for each in only.json["components"]] == ["zdb"]
    assert "cache" not in (await cli("infra", "list", "--section", "messaging")).out
    assert (await cli("infra", "--state", "odd")).code == 2


async def test_a_file_that_is_not_right_any_more_is_warned_of(
    cli: Run, watched: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        watched.service.monitoring, "why_refused", lambda: "line 7: there is no component dbb\nline 9: no"
    )
    shown = await cli("infra")
    assert shown.code == 0
    assert "warning: the file has changed and is not right" in shown.err
    assert "line 7: there is no component dbb; line 9: no\n" in shown.err
    assert (await cli("infra", "--json")).json["error"] == "line 7: there is no component dbb\nline 9: no"


async def test_one_is_shown_with_its_shape_and_its_history(cli: Run, watched: RunningHub) -> None:
    for arguments in (("infra", "zdb"), ("infra", "show", "zdb")):
        shown = await cli(*arguments)
        assert shown.code == 0, shown.err
        assert '"$secret": "env://PASSWORD"' in shown.out
        assert any(" degraded unhealthy the connection was refused" in line for line in lines(shown.out))
    assert len((await cli("infra", "zdb", "-n", "1", "--json")).json["transitions"]) == 1
    unknown = await cli("infra", "nobody")
    assert (unknown.code, unknown.out) == (1, "")


async def test_a_check_ends_with_what_it_found(cli: Run, watched: RunningHub) -> None:
    well = await cli("infra", "check", "cache")
    assert well.code == 0
    assert well.out.startswith("cache answers: ")
    fails = await cli("infra", "--json", "check", "zdb")
    assert fails.code == 1
    assert fails.json["result"]["ok"] is False
    assert "zdb fails: the connection was refused" in (await cli("infra", "check", "zdb")).err
    assert (await cli("infra", "check", "zdb", "--url", "http://127.0.0.1:1")).code == 3


async def test_a_mistyped_command_is_no_component(cli: Run, watched: RunningHub) -> None:
    wrong = await cli("infra", "chekc", "zdb")
    assert (wrong.code, "No such command 'chekc'" in wrong.err) == (2, True)
    unknown = await cli("infra", "zdbb")
    assert (unknown.code, "there is no component zdbb" in unknown.err) == (1, True)


async def test_top_shows_it_between_the_headline_and_the_services(cli: Run, watched: RunningHub) -> None:
    rows = lines((await cli("top")).out)
    head = rows.index("COMPONENT STATE SINCE REASON")
    assert rows[head + 1].startswith("zdb unhealthy, maintenance")
    assert rows[head + 2].startswith("cache healthy")
    told = (await cli("top", "--json")).json
    assert [each["name"] for each in told["infrastructure"]] == ["zdb", "cache"]


async def test_top_says_nothing_of_it_where_there_is_none(cli: Run) -> None:
    assert "COMPONENT" not in (await cli("top")).out
