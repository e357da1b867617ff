"""What a running manager tells a real hub: `GET /config/status/{service}`, and what `central-hub status` prints."""

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from central_hub_client import ConfigClient, ConfigManager, InstanceDescription
from tests.conftest import RunningHub
from tests.faults.harness import free_port
from tests.integration.instances import Incarnation, beat, eventually, instance_path, listed, register, status
from tests.integration.test_cli import Run, cli
from tests.integration.test_status import change
from tests.wire.waiting import until

__all__ = ["cli"]


class Operational(BaseModel):
    model_config = ConfigDict(frozen=True)
    batch_size: int = Field(100, ge=1)
    label: str = "none"


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    operational: Operational = Operational()


class Needy(BaseModel):
    model_config = ConfigDict(frozen=True)
    must: str


Build = Callable[..., ConfigManager[Any]]


@pytest.fixture
def manager_of(hub: RunningHub, service_name: str, tmp_path: Path) -> Build:
    def build(schema: type[Any] | None = Settings, *, token: str = hub.token, **arguments: Any) -> ConfigManager[Any]:
        given = {"cache_dir": tmp_path, "config_dir": None} | arguments
        return ConfigManager(service_name, schema, central_hub_url=hub.url, token=token, **given)  # type: ignore[arg-type]

    return build


async def shows(hub: RunningHub, service: str, **expected: Any) -> dict[str, Any]:
    """The one instance of a service, once the hub says this of it."""
    found: list[dict[str, Any]] = []

    async def does() -> bool:
        found[:] = (await status(hub, service))["instances"]
        return len(found) == 1 and found[0].items() >= expected.items()

    try:
        await eventually(does)
    except AssertionError:
        pytest.fail(f"{expected} was expected, the hub says {json.dumps(found, indent=1)}")
    return found[0]


async def test_the_hub_shows_what_a_manager_applies_and_what_it_does_not_use(
    hub: RunningHub, service_name: str, manager_of: Build, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await change(hub, service_name, {"operational": {"batch_size": 150, "a.b": 1, "c/d~": {"e": 2}}})
    about = InstanceDescription(version="1.4.0", labels={"zone": "b"}, host="10.0.0.7", port=8080)
    async with manager_of(register=about) as manager:
        unknown = ["/operational/a.b", "/operational/c~1d~0/e"]
        told = await shows(hub, service_name, state="applied", unknown_keys=unknown)
        assert (told["applied_revision"], told["unread_keys"]) == (first["revision"], unknown)
        assert (told["shadowed_keys"], told["defaulted_keys"]) == ([], ["/operational/label"])
        [instance] = await listed(hub, service_name)
        assert instance.items() >= {"version": "1.4.0", "labels": {"zone": "b"}, "host": "10.0.0.7"}.items()
        assert manager.report().unknown == ("operational.a.b", "operational.c/d~.e")

        # What it told of its settings would have the hub refuse this.
        second = await change(hub, service_name, {"operational": {"batch_size": -5}}, allow=["contract"])
        told = await shows(hub, service_name, state="rejected", applied_revision=first["revision"])
        assert "operational.batch_size: Input should be greater than or equal to 1" in told["error"]
        assert "-5" not in told["error"]
        shown = await cli("status", service_name)
        assert f"revision 1.{second['revision']}, not converged: 1 rejected" in shown.out
        assert "Input should be greater than or equal to 1" in shown.out
        assert "1.4.0" in shown.out
        assert "declared by no model" in shown.out

        third = await change(hub, service_name, {"operational": {"batch_size": 7}})
        await shows(hub, service_name, state="applied", applied_revision=third["revision"], unknown_keys=unknown)
    assert await listed(hub, service_name) == []

    variable = f"{service_name.upper().replace('-', '_')}_OPERATIONAL__BATCH_SIZE"
    monkeypatch.setenv(variable, "9")
    async with manager_of():
        await shows(hub, service_name, state="shadowed", shadowed_keys=["/operational/batch_size"])
        assert "hidden by an instance's own settings" in (await cli("status", service_name)).out


async def test_without_a_model_a_key_counts_as_unread_until_it_is_read(
    hub: RunningHub, service_name: str, manager_of: Build
) -> None:
    await change(hub, service_name, {"a": {"b.c": 1, "d": 2}})
    async with manager_of(None) as manager:
        await shows(hub, service_name, state="applied", unread_keys=["/a/b.c", "/a/d"])
        assert manager.current["a"]["b.c"] == 1
        await change(hub, service_name, {"a": {"b.c": 1, "d": 3}})  # told with what is applied
        await shows(hub, service_name, state="applied", unread_keys=["/a/d"])


async def test_a_configuration_that_lacks_what_is_required_shows_as_rejected(
    hub: RunningHub, service_name: str, manager_of: Build
) -> None:
    await change(hub, service_name, {"other": 1})
    async with manager_of(Needy):
        told = await shows(hub, service_name, state="rejected", applied_revision=None)
        assert told["error"] == "must: Field required"
        await change(hub, service_name, {"must": "be"})
        await shows(hub, service_name, state="applied")


async def test_a_manager_registers_anew_at_every_start_and_not_where_it_shall_not(
    hub: RunningHub, service_name: str, manager_of: Build
) -> None:
    await change(hub, service_name, {"operational": {}})
    silent, telling = manager_of(register=False), manager_of()
    async with silent:
        for _ in range(2):
            await telling.start_async()
            await shows(hub, service_name, state="applied")
            await telling.stop_async()
            assert await listed(hub, service_name) == []


@pytest.mark.parametrize("instance_id", [None, "worker"])
async def test_a_forked_process_is_an_instance_of_its_own(
    hub: RunningHub, service_name: str, tmp_path: Path, instance_id: str | None
) -> None:
    await change(hub, service_name, {"a": 1})
    program = """
import os, sys
from central_hub_client import ConfigClient, ConfigManager
service, url, token, cache, name = sys.argv[1:]
client = ConfigClient(service, url, token=token, cache_dir=cache, instance_id=name or None)
manager = ConfigManager(service, hub=client, config_dir=None)
manager.start(10)
if os.fork() == 0:
    manager.get("a")
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
manager.stop()
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, service_name, hub.url, hub.token, str(tmp_path), instance_id or ""),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    async def both_applied() -> bool:
        instances = (await status(hub, service_name))["instances"]
        return [instance["state"] for instance in instances] == ["applied", "applied"]

    try:
        await eventually(both_applied, within=30)
        names = sorted(instance["instance_id"] for instance in await listed(hub, service_name))
        assert names[1] == f"{names[0]}-2"
        assert instance_id in (None, names[0])
    finally:
        _, errors = await asyncio.wait_for(process.communicate(b""), 30)
    assert (process.returncode, errors) == (0, b"")
    # The parent said goodbye for itself alone; the child was ended without a chance to.
    assert [instance["instance_id"] for instance in await listed(hub, service_name)] == [names[1]]


async def test_a_token_without_the_verb_costs_a_line_in_the_log_and_nothing_else(
    hub: RunningHub, service_name: str, manager_of: Build, caplog: pytest.LogCaptureFixture
) -> None:
    await change(hub, service_name, {"operational": {"batch_size": 1}})
    token = await hub.new_token(verbs=["read"])
    async with manager_of(token=token) as manager:
        await until(lambda: "the token may not register this instance" in caplog.text)
        await change(hub, service_name, {"operational": {"batch_size": 2}})
        await until(lambda: manager.current.operational.batch_size == 2)
        assert caplog.text.count("may not register") == 1
        assert (manager.status.error, manager.status.stale) == (None, False)


async def test_a_hub_that_is_not_there_holds_up_neither_start_nor_stop(
    service_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "central_hub_client"):
        client = ConfigClient(service_name, f"http://127.0.0.1:{free_port()}", token="t", cache_dir=tmp_path)
        async with ConfigManager(service_name, Settings, hub=client, config_dir=None) as manager:
            await until(lambda: "not registered yet" in caplog.text)
            assert manager.current == Settings()


async def test_a_forged_heartbeat_for_a_manager_s_instance_changes_nothing_and_its_own_go_on(
    hub: RunningHub, service_name: str, manager_of: Build
) -> None:
    await change(hub, service_name, {"operational": {"batch_size": 1}})
    async with manager_of() as manager:
        before = await shows(hub, service_name, state="applied")
        stranger = await register(hub.http, service_name, "stranger")
        for generation, secret in ((1, "guessed"), (1, stranger.secret), (7, "guessed")):
            forged = Incarnation(service_name, before["instance_id"], generation, secret)
            answer = await beat(hub.http, forged, state="draining", applied={"epoch": 9, "revision": 9})
            assert answer.status_code in (403, 404, 409)
        await hub.http.delete(instance_path(service_name, "stranger"))
        after = await shows(hub, service_name, state="applied")
        assert after["applied_revision"] == before["applied_revision"]
        revision = await change(hub, service_name, {"operational": {"batch_size": 2}})
        await until(lambda: manager.current.operational.batch_size == 2)
        await shows(hub, service_name, state="applied", applied_revision=revision["revision"])
