"""Documents and schemas as files: exported, applied as one revision, and promoted from one environment to another."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunningHub
from tests.integration.test_cli import Run, cli
from tests.integration.test_config_documents import path, put
from tests.integration.test_transactions import TOKEN, config_of, head

SCHEMA = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}

__all__ = ["cli"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    directory.mkdir()
    return directory


def write(directory: Path, **contents: Any) -> None:
    """`billing__staging` stands for `billing@staging`, `billing__schema` for its schema; all as JSON."""
    for name, content in contents.items():
        (directory / f"{name}.json").write_text(json.dumps(content))


def names_in(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


async def history(hub: RunningHub, service: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await hub.http.get(f"/api/v1/config/history/{service}")).json()["history"]
    return entries


async def test_files_of_all_formats_and_a_schema_become_one_revision(
    cli: Run, hub: RunningHub, service_name: str, files: Path
) -> None:
    (files / f"{service_name}.toml").write_text("n = 1\n[limits]\nhigh = 2.5\n")
    (files / f"{service_name}@staging.yaml").write_text("n: 3\n")
    (files / f"{service_name}-b.yml").write_text("password: ${env:PASSWORD}\n")
    (files / f"{service_name}.schema.json").write_text(json.dumps(SCHEMA))
    before = await head(hub)
    tried = await cli("apply", "-f", str(files), "--dry-run")
    assert (tried.code, await head(hub)) == (0, before), tried.err
    assert "3 documents and 1 schema would be accepted; nothing was stored" in tried.out
    assert f"{service_name}@staging: new" in tried.out
    assert "+ limits" in tried.out
    unasked = await cli("apply", "-f", str(files))
    assert (unasked.code, await head(hub)) == (2, before)
    done = await cli("apply", "-f", str(files), "--yes", "-m", "first")
    assert done.code == 0, done.err
    assert f"3 documents and 1 schema: updated, revision 1.{before + 1}, announced" in done.out
    assert await head(hub) == before + 1
    assert await config_of(hub, service_name) == {"n": 1, "limits": {"high": 2.5}}
    assert await config_of(hub, service_name, "staging") == {"n": 3}
    assert await config_of(hub, f"{service_name}-b") == {"password": {"$secret": "env://PASSWORD"}}
    assert (await hub.http.get(f"/api/v1/config/schema/{service_name}")).json() == SCHEMA
    assert {entry["reason"] for entry in await history(hub, service_name)} == {"first"}
    for _ in range(2):
        again = await cli("apply", "-f", str(files), "--yes")
        assert (again.code, again.out) == (0, "")
        assert "like that already" in again.err
    assert await head(hub) == before + 1


async def test_one_file_that_is_refused_keeps_all_others_out(
    cli: Run, hub: RunningHub, service_name: str, files: Path
) -> None:
    await hub.http.put(f"/api/v1/config/schema/{service_name}-b", json=SCHEMA)
    write(files, **{service_name: {"n": 1}, f"{service_name}-b": {"n": "x"}, f"{service_name}-c": {"n": 1}})
    before = await head(hub)
    refused = await cli("apply", "-f", str(files), "--yes")
    assert refused.code == 1
    assert f"{service_name}-b in environment default: /n" in refused.err
    write(files, **{f"{service_name}-b": {"n": 1, "token": TOKEN}})
    refused = await cli("apply", "-f", str(files), "--yes")
    assert refused.code == 1
    assert "looks like a credential" in refused.err
    assert TOKEN not in refused.err + refused.out
    assert (await head(hub), await config_of(hub, service_name)) == (before, None)


async def test_what_is_applied_is_marked_and_a_set_on_it_warns(
    cli: Run, hub: RunningHub, service_name: str, files: Path
) -> None:
    # One was there before: applying it changes nothing but whose it is.
    await put(hub, service_name, {"n": 1})
    before = await head(hub)
    write(files, **{service_name: {"n": 1}})
    marked = await cli("apply", "-f", str(files), "--yes", "--managed-by", "fleet-repository")
    assert (marked.code, await head(hub)) == (0, before), marked.err
    changed = await cli("set", service_name, "n=2", "--yes")
    assert changed.code == 0
    assert "is managed by fleet-repository" in changed.err
    back = await cli("apply", "-f", str(files), "--yes", "--managed-by", "fleet-repository")
    assert (back.code, await config_of(hub, service_name)) == (0, {"n": 1})
    assert "is managed by" not in back.err
    other = await cli("apply", "-f", str(files), "--yes", "--managed-by", "another")
    assert other.code == 0
    assert "is managed by another" in (await cli("set", service_name, "n=3", "--yes")).err


async def test_only_prune_deletes_and_only_what_was_applied(
    cli: Run, hub: RunningHub, service_name: str, files: Path
) -> None:
    other, by_hand = f"{service_name}-b", f"{service_name}-c"
    owner = ("--managed-by", service_name)
    write(files, **{service_name: {"n": 1}, other: {"n": 1}, f"{other}.schema": SCHEMA})
    assert (await cli("apply", "-f", str(files), "--yes", *owner)).code == 0
    await put(hub, by_hand, {"n": 1})
    (files / f"{other}.json").unlink()
    (files / f"{other}.schema.json").unlink()
    write(files, **{service_name: {"n": 2}})
    kept = await cli("apply", "-f", str(files), "--yes", *owner)
    assert kept.code == 0
    assert f"left alone without --prune: {other}, {other}.schema" in kept.err
    assert await config_of(hub, other) == {"n": 1}
    before = await head(hub)
    unasked = await cli("apply", "-f", str(files), "--prune", *owner)
    assert unasked.code == 2
    assert f"Remove {other}, {other}.schema" in unasked.err
    write(files, **{service_name: {"n": 3}})
    pruned = await cli("apply", "-f", str(files), "--prune", "--yes", *owner)
    assert pruned.code == 0, pruned.err
    assert f"{other}: deleted" in pruned.out
    assert await head(hub) == before + 1
    assert [await config_of(hub, name) for name in (service_name, other, by_hand)] == [{"n": 3}, None, {"n": 1}]
    assert (await hub.http.get(f"/api/v1/config/schema/{other}")).status_code == 404
    again = await cli("apply", "-f", str(files), "--prune", "--yes", *owner)
    assert (again.code, again.out, await head(hub)) == (0, "", before + 1)


async def test_more_files_than_a_transaction_takes_are_applied_where_few_of_them_change(
    cli: Run, hub: RunningHub, service_name: str, files: Path
) -> None:
    services = [f"{service_name}-{number}" for number in range(130)]
    for start in (0, 65):
        updates = [{"service": service, "config": {"n": 1}} for service in services[start : start + 65]]
        await hub.http.post("/api/v1/config/transaction", json={"updates": updates})
    write(files, **{service: {"n": 1} for service in services})
    write(files, **{services[7]: {"n": 2}})
    done = await cli("apply", "-f", str(files), "--yes")
    assert done.code == 0, done.err
    assert "1 document: updated" in done.out
    listed = (await hub.http.get("/api/v1/config/export", params={"service": services})).json()["entries"]
    assert {entry["managed_by"] for entry in listed} == {"apply"}
    write(files, **{service: {"n": 3} for service in services})
    before = await head(hub)
    too_many = await cli("apply", "-f", str(files), "--yes")
    assert (too_many.code, await head(hub)) == (1, before)
    assert "130 documents would change, and one revision takes 128" in too_many.err


async def test_an_export_comes_back_as_it_was(cli: Run, hub: RunningHub, service_name: str, files: Path) -> None:
    schema = {"properties": {"n": {"maximum": 2**70}}}
    await put(hub, service_name, {"n": 1, "text": "ä"})
    await put(hub, service_name, {"n": 2}, params={"environment": "staging"})
    await hub.http.put(f"/api/v1/config/schema/{service_name}", json=schema)
    written = await cli("export", str(files), service_name, "--json")
    names = [f"{service_name}.json", f"{service_name}.schema.json", f"{service_name}@staging.json"]
    assert [Path(file).name for file in written.json["files"]] == names
    assert json.loads((files / names[1]).read_text()) == schema
    before = await head(hub)
    assert (await cli("apply", "-f", str(files), "--yes")).code == 0
    assert await head(hub) == before
    for name, environment in ((f"{service_name}@staging", "staging"), (f"{service_name}@default", "default")):
        only = files / environment
        assert (await cli("export", str(only), name)).code == 0
        documents = [found for found in names_in(only) if not found.endswith(".schema.json")]
        assert documents == [f"{service_name}{'@staging' if environment == 'staging' else ''}.json"]
    assert (await cli("export", str(files), f"{service_name}-none")).code == 1
    (files / f"{service_name}.json").rename(files / f"{service_name}.yaml")
    second = await cli("export", str(files), service_name)
    assert second.code == 2
    assert f"{service_name}.yaml is there already" in second.err


async def test_an_export_needs_no_more_than_the_right_to_read(
    cli: Run, hub: RunningHub, service_name: str, files: Path
) -> None:
    await put(hub, service_name, {"n": 1})
    await put(hub, f"{service_name}-b", {"n": 1})
    token = await hub.new_token(services=[service_name])
    assert (await cli("export", str(files), CENTRAL_HUB_TOKEN=token)).code == 0
    assert names_in(files) == [f"{service_name}.json"]
    await hub.http.delete(path(service_name), headers={"If-Match": "*"})
    again = await cli("export", str(files), CENTRAL_HUB_TOKEN=token)
    assert again.code == 0
    assert f"left alone: {files / service_name}.json" in again.err


async def test_a_whole_revision_is_reverted(cli: Run, hub: RunningHub, service_name: str, files: Path) -> None:
    other = f"{service_name}-b"
    await put(hub, service_name, {"n": 1})
    write(files, **{service_name: {"n": 2}, other: {"n": 2}, f"{service_name}.schema": SCHEMA})
    assert (await cli("apply", "-f", str(files), "--yes")).code == 0
    revision = await head(hub)
    tried = await cli("revert", str(revision), "--dry-run")
    assert (tried.code, await head(hub)) == (0, revision), tried.err
    for line in ("~ n: 2 → 1", f"{other}:", f"{service_name}.schema:", "nothing was stored"):
        assert line in tried.out
    assert "is managed by apply" in tried.err
    assert (await cli("revert", str(revision))).code == 2
    done = await cli("revert", f"1.{revision}", "--yes", "-m", "too early")
    assert done.code == 0, done.err
    assert f"revision 1.{revision} taken back: revision 1.{revision + 1}, announced" in done.out
    assert [await config_of(hub, name) for name in (service_name, other)] == [{"n": 1}, None]
    assert {entry["reason"] for entry in (await history(hub, service_name))[:2]} == {"too early"}
    late = await cli("revert", str(revision), "--yes")
    assert late.code == 1
    assert "has been changed since" in late.err


async def test_a_promotion_makes_one_environment_what_another_is(cli: Run, hub: RunningHub, service_name: str) -> None:
    other, third = f"{service_name}-b", f"{service_name}-c"
    target = f"p-{service_name}"[:40].rstrip("-")
    source = f"s-{service_name}"[:40].rstrip("-")
    for name, place, config in (
        (service_name, source, {"n": 2, "a": 1}),
        (service_name, target, {"n": 1, "gone": 1}),
        (other, source, {"n": 1}),
        (third, target, {"n": 9}),
        ("_global", source, {"shared": 1}),
    ):
        await put(hub, name, config, params={"environment": place})
    await hub.http.put(f"/api/v1/config/schema/{service_name}", params={"environment": source}, json=SCHEMA)
    before = await head(hub)
    command = ("promote", "--from", source, "--to", target)
    tried = await cli(*command, "--dry-run")
    assert (tried.code, await head(hub)) == (0, before), tried.err
    for line in ("~ n: 1 → 2", "+ a: 1", "- gone: 1", f"{other}@{target}: new"):
        assert line in tried.out
    assert "_global" not in tried.out
    unasked = await cli(*command)
    assert unasked.code == 2
    assert f"Remove gone of {service_name}@{target}, and promote to {target}: 2 documents and 1 schema?" in unasked.err
    done = await cli(*command, "--yes")
    assert done.code == 0, done.err
    assert await head(hub) == before + 1
    configs = [await config_of(hub, name, target) for name in (service_name, other, third, "_global")]
    assert configs == [{"n": 2, "a": 1}, {"n": 1}, {"n": 9}, None]
    held = await hub.http.get(f"/api/v1/config/schema/{service_name}", params={"environment": target})
    assert held.json() == SCHEMA
    entry = (await hub.http.get(f"/api/v1/config/history/{other}", params={"environment": target})).json()["history"][0]
    assert entry["reason"] == f"promote from {source} to {target}"
    again = await cli(*command, "--yes")
    assert (again.code, await head(hub)) == (0, before + 1)
    assert f"{target} is like {source} already" in again.out
    named = await cli(*command, "_global", "--yes")
    assert (named.code, await config_of(hub, "_global", target)) == (0, {"shared": 1})
    await hub.http.delete(path("_global"), params={"environment": target}, headers={"If-Match": "*"})
    await hub.http.delete(path("_global"), params={"environment": source}, headers={"If-Match": "*"})
    missing = await cli(*command, third)
    assert missing.code == 1
    assert f"there is no document of {third} in environment {source}" in missing.err
    assert (await cli("promote", "--from", source, "--to", source)).code == 2


async def test_a_promotion_that_breaks_what_holds_there_changes_nothing(
    cli: Run, hub: RunningHub, service_name: str
) -> None:
    other = f"{service_name}-b"
    await put(hub, service_name, {"n": 1}, params={"environment": "production"})
    schema = f"/api/v1/config/schema/{service_name}"
    await hub.http.put(schema, params={"environment": "production"}, json=SCHEMA)
    await put(hub, service_name, {"n": "x"}, params={"environment": "staging"})
    await put(hub, other, {"n": 1}, params={"environment": "staging"})
    before = await head(hub)
    refused = await cli("promote", service_name, other, "--from", "staging", "--to", "production", "--yes")
    assert refused.code == 1
    assert f"{service_name} in environment production: /n" in refused.err
    assert (await head(hub), await config_of(hub, other, "production")) == (before, None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Billing.json", "{}"),
        ("billing.schema.old.json", "{}"),
        ("billing@.json", "{}"),
        ("billing.json", "[]"),
        ("billing.json", '{"a": 1, "a": 2}'),
        ("billing.yaml", "when: 2026-01-01"),
        ("billing.toml", "a ="),
        ("billing.schema.json", "true"),
        ("billing.json", "[" * 5000),
    ],
)
async def test_a_file_that_is_no_document_stops_everything(
    cli: Run, hub: RunningHub, files: Path, name: str, content: str
) -> None:
    (files / "a-sound-one.json").write_text("{}")
    (files / name).write_text(content)
    before = await head(hub)
    refused = await cli("apply", "-f", str(files), "--yes")
    assert (refused.code, await head(hub)) == (2, before)
    assert str(files / name) in refused.err
    assert "Traceback" not in refused.err


async def test_a_file_that_is_too_deep_is_refused_by_the_hub(
    cli: Run, hub: RunningHub, service_name: str, files: Path
) -> None:
    await put(hub, service_name, {"a": 1})
    (files / f"{service_name}.json").write_text('{"a":' * 60 + "1" + "}" * 60)
    refused = await cli("apply", "-f", str(files), "--yes")
    assert refused.code == 1, refused.err
    assert "Traceback" not in refused.err
