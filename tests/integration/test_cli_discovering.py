"""`central-hub instances` and `route` as a program, against a real hub."""

import asyncio
import os

from tests.conftest import RunningHub
from tests.integration.instances import beat, instance_path, register
from tests.integration.test_cli import PROGRAM, Run, cli

__all__ = ["cli"]


async def test_instances_are_listed_with_where_and_how_they_are(cli: Run, hub: RunningHub, service_name: str) -> None:
    told = {
        "host": "10.0.0.7",
        "port": 8080,
        "zone": "eu-1",
        "version": "1.4.0",
        "labels": {"team": "data"},
        "metadata": {"gpu": True},
    }
    await beat(hub.http, await register(hub.http, service_name, "a", **told, weight=3, capabilities=["bars"]))
    await register(hub.http, service_name, "b", environment="staging", build="4f2a")
    shown = await cli("instances", service_name)
    assert shown.code == 0, shown.err
    rows = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert rows[1].startswith(f"{service_name} default a healthy http://10.0.0.7:8080 eu-1 3 1.4.0 20")
    assert rows[2].startswith(f"{service_name} staging b starting 1 4f2a 20")
    for filters, names in (
        (("-e", "staging"), ["b"]),
        (("--state", "healthy"), ["a"]),
        (("--zone", "eu-1", "--capability", "bars", "--label", "team=data"), ["a"]),
        (("--label", "team=risk"), []),
        (("--metadata", "gpu=true"), ["a"]),
        (("--metadata", "gpu=false"), []),
    ):
        found = await cli("instances", service_name, *filters, "--json")
        assert [instance["instance_id"] for instance in found.json] == names
    assert "no instance fits" in (await cli("instances", service_name, "--zone", "nowhere")).err
    assert "no instance is registered" in (await cli("instances", f"{service_name}-x")).err
    assert {instance["service"] for instance in (await cli("instances", "--json")).json} >= {service_name}
    for wrong in (("--label", "team"), ("-e", "No"), ("_global",)):
        assert (await cli("instances", *wrong)).code == 2
    assert (await cli("instances", "--state", "asleep")).code == 1


async def test_instances_are_followed_with_a_line_for_each_change(cli: Run, hub: RunningHub, service_name: str) -> None:
    one = await register(hub.http, service_name, "one", host="10.0.0.7", port=8080, zone="eu-1", version="1.4.0")
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "instances", service_name, "--watch"),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token},
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):

        async def line() -> str:
            assert process.stdout is not None
            return (await process.stdout.readline()).decode().partition("  ")[2].rstrip()

        assert await line() == "one  starting  http://10.0.0.7:8080  eu-1  1.4.0"
        await beat(hub.http, one)
        assert await line() == "one  healthy  http://10.0.0.7:8080  eu-1  1.4.0"
        await register(hub.http, service_name, "two", weight=3)
        assert await line() == "two  starting  weight 3"
        assert (await hub.http.delete(instance_path(service_name))).status_code == 204
        assert await line() == "one  gone"
        process.send_signal(2)
        assert await process.wait() == 0
    for wrong in (("--watch",), (service_name, "--watch", "--zone", "eu")):
        refused = await cli("instances", *wrong)
        assert refused.code == 2
        assert "--watch follows all instances of one service" in refused.err


async def test_route_prints_where_to_call(cli: Run, hub: RunningHub, service_name: str) -> None:
    one = await register(hub.http, service_name, "one", host="fd00::7", port=8080, protocol="https", zone="eu")
    await beat(hub.http, one)
    shown = await cli("route", service_name)
    assert (shown.code, shown.out) == (0, "https://[fd00::7]:8080\n")
    assert shown.err == "instance one in zone eu\n"
    by_key = (await cli("route", service_name, "--key", "customer-7", "--json")).json
    assert (by_key["policy"], by_key["instance"]["instance_id"]) == ("consistent_hash", "one")
    elsewhere = await cli("route", service_name, "--zone", "us")
    assert "no instance of zone us can be called" in elsewhere.err
    assert (await cli("route", service_name, "--policy", "random")).code == 0
    for wrong in (("--policy", "consistent_hash"), ("--policy", "fastest"), ("--key", "k", "--zone", "eu")):
        assert (await cli("route", service_name, *wrong)).code == 2
    await beat(hub.http, one, state="draining")
    nobody = await cli("route", service_name)
    assert (nobody.code, nobody.out) == (1, "")
    assert "can be called: 1 draining" in nobody.err
