"""`central-hub status` and `services` as a program, against a real hub."""

from tests.conftest import RunningHub
from tests.integration.instances import beat, register
from tests.integration.test_cli import Run, cli
from tests.integration.test_status import change

__all__ = ["cli"]


async def test_status_says_who_runs_what_who_refused_and_which_keys_are_not_used(
    cli: Run, hub: RunningHub, service_name: str
) -> None:
    good = await change(hub, service_name, {"batch": {"size": 1}, "old": 1, "odd": 1})
    a = await register(hub.http, service_name, "a", version="1.2.0")
    b = await register(hub.http, service_name, "b", version="1.3.0")
    bad = await change(hub, service_name, {"batch": {"size": -1}})
    await beat(hub.http, a, applied=bad, report={"unread": ["/old", "/odd"], "shadowed": ["/batch/size"]})
    refusal = bad | {"reason": "/batch/size: must be positive\x1b[2J"}
    await beat(hub.http, b, applied=good, rejected=refusal, report={"unread": ["/old"], "unknown": ["/odd"]})
    shown = await cli("status", service_name)
    assert shown.code == 0, shown.err
    lines = {" ".join(line.split()) for line in shown.out.splitlines()}
    first = shown.out.splitlines()[0]
    assert first == (
        f"{service_name} in environment default: revision 1.{bad['revision']}, not converged: 1 rejected, 1 shadowed"
    )
    assert any(line.startswith(f"a 1.2.0 1.{bad['revision']} shadowed") for line in lines)
    assert any("/batch/size: must be positive" in line and line.startswith("b 1.3.0") for line in lines)
    assert "\x1b" not in shown.out
    assert shown.out.count("read by nobody:\n  old\n") == 1  # the other one is read by b
    assert "batch.size at a" in lines
    assert "odd at b" in lines
    told = (await cli("status", service_name, "--json")).json
    assert [instance["state"] for instance in told["instances"]] == ["shadowed", "rejected"]


async def test_status_of_a_service_that_nobody_runs_and_of_none(cli: Run, hub: RunningHub, service_name: str) -> None:
    await change(hub, service_name, {"a": 1})
    assert "no instance is registered" in (await cli("status", service_name)).out
    nowhere = await cli("status", f"{service_name}-x")
    assert nowhere.code == 1
    assert "there is no document" in nowhere.err


async def test_services_are_listed_with_their_instances(cli: Run, hub: RunningHub, service_name: str) -> None:
    for number in range(3):
        made = await register(hub.http, service_name, f"i{number}", version=f"1.{number % 2}")
        if number:
            await beat(hub.http, made)
    await register(hub.http, service_name, environment="staging")
    shown = await cli("services")
    assert shown.code == 0, shown.err
    rows = [" ".join(line.split()) for line in shown.out.splitlines() if line.startswith(service_name)]
    assert rows == [
        f"{service_name} default 3 2 healthy, 1 starting 1.0 1.1",
        f"{service_name} staging 1 1 starting",
    ]
    told = [entry for entry in (await cli("services", "--json")).json if entry["service"] == service_name]
    assert [(entry["environment"], entry["instances"]) for entry in told] == [("default", 3), ("staging", 1)]
