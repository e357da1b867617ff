"""`schema` and `validate` on the command line: what people are shown, and the exit codes that scripts rely on."""

import json
from pathlib import Path

from tests.conftest import RunningHub
from tests.integration.test_cli import Run, cli
from tests.integration.test_config_documents import put

__all__ = ["cli"]

SCHEMA = {"properties": {"batch_size": {"type": "integer", "maximum": 2**64}, "mode": {"enum": ["fast", "safe"]}}}


def written(directory: Path, content: object) -> str:
    path = directory / "file.json"
    path.write_text(json.dumps(content))
    return str(path)


async def test_a_schema_is_registered_shown_and_withdrawn(cli: Run, service_name: str, tmp_path: Path) -> None:
    file = written(tmp_path, SCHEMA)
    tried = await cli("schema", "put", service_name, file, "--dry-run")
    assert (tried.code, "nothing was stored" in tried.out) == (0, True), tried.err
    assert (await cli("schema", "get", service_name)).code == 1
    done = await cli("schema", "put", service_name, file, "-m", "begin")
    assert (done.code, "created" in done.out) == (0, True), done.err
    assert (await cli("schema", "get", service_name, "--json")).json == SCHEMA
    page = await cli("history", service_name, "--json")
    assert [(entry["action"], entry["reason"]) for entry in page.json["history"]] == [("schema", "begin")]
    withdrawn = await cli("schema", "delete", service_name, "--yes")
    assert (withdrawn.code, "deleted" in withdrawn.out) == (0, True), withdrawn.err
    assert (await cli("schema", "get", service_name)).code == 1


async def test_all_that_a_schema_refuses_is_shown_once(cli: Run, service_name: str, tmp_path: Path) -> None:
    await cli("schema", "put", service_name, written(tmp_path, SCHEMA))
    refused = await cli("validate", service_name, written(tmp_path, {"batch_size": "x", "mode": "y"}))
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.count("must be an integer") == 1
    assert refused.err.count('must be one of "fast", "safe"') == 1
    accepted = await cli("validate", service_name, written(tmp_path, {"batch_size": 1}))
    assert (accepted.code, "would be accepted" in accepted.out) == (0, True), accepted.err
    assert (await cli("get", service_name)).code == 1


async def test_a_schema_that_what_there_is_breaks_is_refused_by_the_place(
    cli: Run, hub: RunningHub, service_name: str, tmp_path: Path
) -> None:
    await put(hub, service_name, {"batch_size": "many"})
    refused = await cli("schema", "put", service_name, written(tmp_path, SCHEMA), "--json")
    assert refused.code == 1
    (finding,) = json.loads(refused.err)["errors"]
    assert (finding["service"], finding["pointer"]) == (service_name, "/batch_size")


async def test_a_rollback_is_not_misled_by_a_schema_that_came_later(
    cli: Run, hub: RunningHub, service_name: str, tmp_path: Path
) -> None:
    first = await put(hub, service_name, {"batch_size": 1})
    await cli("set", service_name, "batch_size=2")
    await cli("schema", "put", service_name, written(tmp_path, SCHEMA))
    done = await cli("rollback", service_name, str(first.json()["revision"]), "--yes")
    assert done.code == 0, done.err
    assert (await cli("get", service_name, "batch_size")).out.strip() == "1"


async def test_an_export_carries_the_schema_along(cli: Run, service_name: str, tmp_path: Path) -> None:
    await cli("schema", "put", service_name, written(tmp_path, SCHEMA))
    await cli("set", service_name, "batch_size=2", "-e", "staging", "--yes")
    exported = await cli("export", str(tmp_path / "out"), service_name)
    assert exported.code == 0, exported.err
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{service_name}.schema.json", f"{service_name}@staging.json"]
