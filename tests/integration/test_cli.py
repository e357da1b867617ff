"""The command line as a program: the executable, a real hub, exit codes, what it prints and what it never prints."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.test_config_documents import path, put

PROGRAM = str(Path(sys.executable).with_name("central-hub"))


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Awaitable[Result]]


async def run_program(arguments: tuple[str, ...], environment: Mapping[str, str], stdin: str = "") -> Result:
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


@pytest.fixture
def cli(hub: RunningHub, tmp_path: Path) -> Run:
    """Run a command against the module's hub."""

    async def run(*arguments: str, **environment: str) -> Result:
        settings = {"CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token, "CENTRAL_HUB_DATA_DIR": str(tmp_path)}
        return await run_program(arguments, settings | environment)

    return run


async def test_set_shows_the_change_and_makes_it(cli: Run, hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"operational": {"batch_size": 100}})
    done = await cli("set", service_name, "operational.batch_size=200", "operational.mode=fast", "-m", "try it")
    assert done.code == 0, done.err
    assert "~ operational.batch_size: 100 → 200" in done.out
    assert "+ operational.mode" in done.out
    assert "updated, revision 1." in done.out
    config = (await hub.http.get(path(service_name), params={"own": "true"})).json()["config"]
    assert config == {"operational": {"batch_size": 200, "mode": "fast"}}


async def test_a_removal_is_asked_for_and_a_pipe_cannot_agree(cli: Run, hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1, "b": 2})
    asked = await cli("set", service_name, "--unset", "b")
    assert asked.code == 2
    assert "--yes" in asked.err
    assert (await cli("set", service_name, "--unset", "b", "--yes")).code == 0
    assert (await hub.http.get(path(service_name), params={"own": "true"})).json()["config"] == {"a": 1}


async def test_a_typing_error_is_explained(cli: Run, service_name: str) -> None:
    assert (await cli("set", service_name, "no-equals-sign")).code == 2
    assert (await cli("sett", service_name)).code == 2
    assert (await cli("get", "Not_A_Name")).code == 2
    unknown = await cli("get", service_name)
    assert unknown.code == 1
    assert service_name in unknown.err
    assert unknown.out == ""


async def test_a_dead_hub_is_exit_code_3_and_says_what_to_do(cli: Run, service_name: str) -> None:
    dead = await cli("get", service_name, CENTRAL_HUB_URL="http://127.0.0.1:9")
    assert dead.code == 3
    assert "central-hub up" in dead.err


async def test_a_wrong_token_is_refused_and_not_repeated(cli: Run, service_name: str) -> None:
    refused = await cli("get", service_name, CENTRAL_HUB_TOKEN="chub_wrong-token-wrong-token-wrong-token-wrong")
    assert refused.code == 1
    assert "chub_wrong" not in refused.err + refused.out


async def test_get_explain_history_and_diff_tell_the_story(cli: Run, hub: RunningHub, service_name: str) -> None:
    first = (await put(hub, service_name, {"a": {"b": 1}})).json()["revision"]
    await cli("set", service_name, "a.b=2", "-m", "because")
    assert (await cli("get", service_name, "a.b")).out.strip() == "2"
    assert (await cli("get", service_name, "a.b", "--at", str(first))).out.strip() == "1"
    assert (await cli("--json", "get", service_name)).json["config"]["a"] == {"b": 2}
    explained = await cli("explain", service_name, "a")
    assert f"{service_name}@default" in explained.out
    assert (await cli("explain", service_name, "nothing")).code == 1
    history = await cli("history", service_name)
    assert "because" in history.out
    assert "~a.b" in history.out
    assert (await cli("diff", service_name, str(first))).out.count("~ a.b: 1 → 2") == 1
    assert (await cli("diff", service_name, "--json")).json["changes"][0]["new"] == 2


async def test_rollback_shows_what_it_brings_back(cli: Run, hub: RunningHub, service_name: str) -> None:
    first = (await put(hub, service_name, {"a": 1})).json()["revision"]
    await cli("set", service_name, "a=2")
    done = await cli("rollback", service_name, str(first), "--yes")
    assert done.code == 0, done.err
    assert "~ a: 2 → 1" in done.out
    assert (await hub.http.get(path(service_name), params={"own": "true"})).json()["config"] == {"a": 1}


async def test_without_a_terminal_no_editor_is_opened_that_nobody_chose(
    cli: Run, hub: RunningHub, service_name: str
) -> None:
    await put(hub, service_name, {"a": 1})
    refused = await cli("edit", service_name)
    assert (refused.code, refused.out) == (2, "")
    assert "no terminal" in refused.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("arguments", [("--help",), ("get", "SERVICE"), ("--json", "get", "SERVICE")])
async def test_output_that_cannot_be_written_is_told_in_one_line(
    hub: RunningHub, service_name: str, arguments: tuple[str, ...]
) -> None:
    await put(hub, service_name, {"a": 1})
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, *(service_name if argument == "SERVICE" else argument for argument in arguments)),
        stdout=os.open("/dev/full", os.O_WRONLY),
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token},
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode().splitlines()[-1] == "the output cannot be written: No space left on device"
    assert "Traceback" not in err.decode()


async def test_edit_stores_what_the_editor_leaves(cli: Run, hub: RunningHub, service_name: str, tmp_path: Path) -> None:
    await put(hub, service_name, {"a": 1})
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/1/5/ "$1"\n')
    editor.chmod(0o700)
    done = await cli("edit", service_name, "--yes", EDITOR=str(editor))
    assert done.code == 0, done.err
    assert (await hub.http.get(path(service_name), params={"own": "true"})).json()["config"] == {"a": 5}
    broken = await cli("edit", service_name, "--yes", EDITOR="/nowhere/editor")
    assert broken.code == 2


async def test_export_and_apply_carry_documents_as_files(
    cli: Run, hub: RunningHub, service_name: str, tmp_path: Path
) -> None:
    await put(hub, service_name, {"a": 1, "b": [1, 2]})
    files = tmp_path / "files"
    assert (await cli("export", str(files), service_name)).code == 0
    file = files / f"{service_name}.json"
    assert json.loads(file.read_text()) == {"a": 1, "b": [1, 2]}
    again = await cli("apply", "-f", str(files), "--yes")
    assert (again.code, again.out) == (0, "")
    (files / f"{service_name}@staging.yaml").write_text("a: 2\n")
    file.write_text('{"a": 7}')
    applied = await cli("apply", "-f", str(files), "--yes")
    assert applied.code == 0, applied.err
    assert "- b: [1, 2]" in applied.out.replace("[1,2]", "[1, 2]")
    read = await hub.http.get(path(service_name), params={"environment": "staging", "own": "true"})
    assert read.json()["config"] == {"a": 2}
    (files / f"{service_name}@staging.yaml").write_text("a: &x [1]\nb: *x\n")
    assert (await cli("apply", "-f", str(files), "--yes")).code == 2


async def test_tokens_are_made_listed_and_revoked(cli: Run, hub: RunningHub) -> None:
    made = await cli("token", "create", "ci", "--verb", "read", "--service", "*", "--expires", "1h")
    token = made.out.strip()
    async with hub.client(token) as client:
        assert (await client.get("/api/v1/keys")).status_code == 200
        listed = await cli("token", "list", "--json")
        assert token not in listed.out
        token_id = next(entry["id"] for entry in listed.json if entry["name"] == "ci")
        assert "ci" in (await cli("token", "list")).out
        assert (await cli("token", "revoke", token_id)).code == 0
        assert (await client.get("/api/v1/keys")).status_code == 401
    assert (await cli("token", "create", "x", "--verb", "rule", "--service", "*")).code == 1


async def test_audit_verify_prints_a_head_that_anchors_the_next_one(
    cli: Run, hub: RunningHub, service_name: str
) -> None:
    await put(hub, service_name, {"a": 1})
    verified = await cli("audit", "verify", "--json")
    assert verified.code == 0, verified.err
    head = verified.json["head"]
    await put(hub, f"{service_name}-2", {"a": 1})
    assert (await cli("audit", "verify", "--anchor", head)).code == 0
    forged = await cli("audit", "verify", "--anchor", head[:-1] + ("0" if head[-1] != "0" else "1"))
    assert forged.code == 1
    assert "anchor" in forged.err
    assert (await cli("audit", "verify", "--anchor", "nonsense")).code == 2


async def test_a_redacted_content_is_gone_and_the_chain_still_verifies(
    cli: Run, hub: RunningHub, database: DatabaseUrls, service_name: str
) -> None:
    owner = {
        "CENTRAL_HUB_MIGRATION_DATABASE_URL": database.owner,
        "CENTRAL_HUB_DATABASE_URL": database.running,
    }
    revision = (await put(hub, service_name, {"note": "hush-hush-value"})).json()["revision"]
    current = await cli("audit", "redact", service_name, str(revision), "-m", "leaked", "--yes", **owner)
    assert current.code == 1
    assert "change the document first" in current.err
    await cli("set", service_name, "note=harmless")
    done = await cli("audit", "redact", service_name, str(revision), "-m", "leaked", "--yes", **owner)
    assert done.code == 0, done.err
    for target in (f"/api/v1/config/history/{service_name}?include=config", "/api/v1/audit?limit=1000"):
        assert "hush-hush-value" not in (await hub.http.get(target)).text
    gone = await hub.http.get(path(service_name), params={"at": revision})
    assert (gone.status_code, gone.json()["code"]) == (410, "history_gone")
    assert (await cli("audit", "verify")).code == 0


async def test_watch_prints_changes_as_they_come(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1})
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "watch", service_name),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "CENTRAL_HUB_URL": hub.url, "CENTRAL_HUB_TOKEN": hub.token},
    )
    assert process.stdout is not None
    async with asyncio.timeout(15):
        assert service_name.encode() in await process.stdout.readline()
        await hub.http.post(path(service_name), json={"config": {"a": 2}})
        assert "~ a: 1 → 2" in (await process.stdout.readline()).decode()
        process.send_signal(2)
        assert await process.wait() == 0


async def test_doctor_says_what_is_well_and_what_is_not(cli: Run) -> None:
    well = await cli("doctor", "--json")
    assert well.code == 0, well.out + well.err
    assert {finding["what"] for finding in well.json} >= {"Python", "hub", "token", "postgres", "nats", "clock"}
    dead = await cli("doctor", CENTRAL_HUB_URL="http://127.0.0.1:9")
    assert dead.code == 1
    assert "PROBLEM" in dead.out
    assert "central-hub up" in dead.out
    junk = await cli("doctor", "--json", CENTRAL_HUB_DATABASE_URL="junk")
    assert junk.code == 1
    (found,) = [finding for finding in junk.json if finding["what"] == "PostgreSQL from here"]
    assert (found["ok"], "cannot be read" in found["found"]) == (False, True)


async def test_doctor_finds_nothing_wrong_with_a_hub_that_has_no_bus(
    cli: Run, start_hub: Callable[..., Awaitable[RunningHub]]
) -> None:
    lonely = await start_hub(nats_url=None)
    well = await cli("doctor", "--json", CENTRAL_HUB_URL=lonely.url, CENTRAL_HUB_TOKEN=lonely.token)
    assert well.code == 0, well.out + well.err
    (nats,) = [finding for finding in well.json if finding["what"] == "nats"]
    assert nats["found"].startswith("off: CENTRAL_HUB_NATS_URL is not set")


async def test_what_others_wrote_cannot_move_the_cursor(cli: Run, hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": "\x1b[2J\x1b[31mred"}, params={"reason": "line\nbreak \x1b]0;title\x07"})
    for command in (
        ("get", service_name),
        ("history", service_name),
        ("diff", service_name),
        ("explain", service_name),
    ):
        shown = await cli(*command)
        assert shown.code == 0, shown.err
        assert "\x1b" not in shown.out
        assert "\x07" not in shown.out


@pytest.mark.parametrize("command", ["up", "serve", "migrate"])
async def test_settings_that_cannot_be_right_are_explained(cli: Run, command: str, tmp_path: Path) -> None:
    wrong = await cli(command, CENTRAL_HUB_PORT="many", CENTRAL_HUB_DATA_DIR=str(tmp_path))
    assert wrong.code == 2
    assert "CENTRAL_HUB_PORT" in wrong.err


@pytest.mark.parametrize(
    "url", ["junk", "postgresql://u:hunter2@h:port/x", "postgresql://u:hunter2@h/x?colour=hunter2"]
)
async def test_a_database_url_that_cannot_be_read_is_explained_without_its_password(
    cli: Run, url: str, tmp_path: Path
) -> None:
    wrong = await cli("serve", "--port", "0", CENTRAL_HUB_DATABASE_URL=url, CENTRAL_HUB_DATA_DIR=str(tmp_path / "d"))
    assert wrong.code == 2
    assert wrong.err.startswith("Error: the database URL")
    assert "hunter2" not in wrong.err
    assert "Traceback" not in wrong.err


@pytest.mark.parametrize(
    "command",
    [
        ("diff", "SERVICE", "yesterday"),
        ("rollback", "SERVICE", "1.2.3", "--yes"),
        ("get", "SERVICE", "--at", "x"),
        ("apply", "-f", "/nonexistent"),
    ],
)
async def test_an_argument_that_cannot_be_right_is_wrong_usage(
    cli: Run, service_name: str, command: tuple[str, ...]
) -> None:
    wrong = await cli(*(service_name if word == "SERVICE" else word for word in command))
    assert wrong.code == 2


async def test_a_rollback_to_before_the_document_says_so(cli: Run, hub: RunningHub, service_name: str) -> None:
    created = (await put(hub, service_name, {"a": 1})).json()["revision"]
    early = await cli("rollback", service_name, f"1.{created - 1}", "--yes")
    assert early.code == 1
    assert early.err.startswith(f"Error: the document did not exist at revision 1.{created - 1}")
    same = await cli("rollback", service_name, f"1.{created}", "--yes")
    assert same.out.count("\n") == 1, same.out


async def test_a_sentence_of_the_hub_is_printed_once(cli: Run, service_name: str) -> None:
    refused = await cli("set", service_name, "a=1", "--allow", "everything", "--yes")
    assert refused.code == 1
    assert refused.err.count("a guard is named removals") == 1
