"""`contracts` on the command line: who runs what, what a change would break, which builds count."""

from pathlib import Path

from tests.conftest import RunningHub
from tests.integration.instances import register
from tests.integration.test_cli import Run, cli
from tests.integration.test_cli_schemas import written
from tests.integration.test_config_documents import put
from tests.integration.test_contracts import SMALL

__all__ = ["cli"]


async def test_who_runs_which_model_is_shown_and_a_refusal_names_build_and_place(
    cli: Run, hub: RunningHub, service_name: str
) -> None:
    assert "no build" in (await cli("contracts", service_name)).err
    await put(hub, service_name, {"batch": 1})
    await register(hub.http, service_name, build="1.4", schema=SMALL)
    await register(hub.http, service_name, "two", build="broken", schema={"not": {}})
    shown = await cli("contracts", service_name)
    assert shown.code == 0, shown.err
    lines = {line.split()[0]: line for line in shown.out.splitlines()[1:]}
    assert lines["1.4"].split()[-3:] == ["yes", "it", "runs"]
    assert lines["broken"].endswith("it refuses the present configuration")
    as_json = await cli("contracts", "show", service_name, "--json")
    assert [contract["counts"] for contract in as_json.json["contracts"]] == [True, False]
    refused = await cli("set", service_name, "batch=200")
    assert refused.code == 1
    assert "batch must be 100 or less, for build 1.4 (1 instance: one)" in refused.err
    forced = await cli("set", service_name, "batch=200", "--allow", "contract", "--yes")
    assert (forced.code, "it was overridden" in forced.err) == (0, True), forced.err


async def test_builds_are_pinned_from_a_pipeline_and_retired_by_hand(
    cli: Run, hub: RunningHub, service_name: str, tmp_path: Path
) -> None:
    await put(hub, service_name, {"batch": 1})
    file = written(tmp_path, SMALL)
    assert (await cli("contracts", "pin", service_name, "--build", "1.5")).code == 1
    pinned = await cli("contracts", "pin", service_name, "--build", "1.5", "--schema", file)
    assert (pinned.code, "pinned" in pinned.out) == (0, True), pinned.err
    two = await cli("contracts", "pin", service_name, "--build", "1.5", "--build", "1.6", "--schema", file)
    assert two.code == 2, two.err
    assert (await cli("set", service_name, "batch=200")).code == 1
    assert (await cli("contracts", "retire", service_name, "--build", "1.5")).code == 2
    retired = await cli("contracts", "retire", service_name, "--build", "1.5", "--yes")
    assert (retired.code, "retired" in retired.out) == (0, True), retired.err
    assert (await cli("set", service_name, "batch=200")).code == 0
    assert "retired" in (await cli("contracts", "unpin", service_name)).out
