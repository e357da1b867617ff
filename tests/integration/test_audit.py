"""The audit log: one row a change, verified offline, not to be altered by the role that runs."""

import base64
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from central_hub.audit.chain import Anchor, Entry, Record, Verifier
from central_hub.errors import StartupRefused
from central_hub_client.wire import Position
from tests.conftest import DatabaseUrls, RunningHub
from tests.integration.test_config_documents import own_etag, path, put


async def exported(hub: RunningHub, limit: int = 3) -> dict[str, Any]:
    """The whole log, page by page."""
    entries: list[Any] = []
    after = "0"
    while True:
        page = (await hub.http.get("/api/v1/audit", params={"after": after, "limit": limit})).json()
        entries += page["entries"]
        if page["next"] is None:
            return page | {"entries": entries}
        after = page["next"]


def verified(log: dict[str, Any], *anchors: Anchor) -> Verifier:
    verifier = Verifier(anchors)
    for entry in log["entries"]:
        facts = {name: entry[name] for name in Entry.__dataclass_fields__}
        facts["changed_at"] = datetime.fromisoformat(entry["changed_at"])
        salt = None if entry["salt"] is None else base64.b64decode(entry["salt"])
        verifier.take(Record(Entry(**facts), entry["entry_hash"], salt, entry["content"], entry["redacted"]))
    head = log["head"]
    verifier.finish(recorded_head=head["hash"], recorded=Position(head["epoch"], head["revision"]))
    return verifier


async def test_every_change_has_one_entry_and_the_exported_chain_verifies(hub: RunningHub, service_name: str) -> None:
    await put(hub, service_name, {"a": 1}, params={"reason": "why ünicode \n not"})
    await hub.http.post(path(service_name), json={"config": {"a": 2}})
    await hub.http.delete(path(service_name), headers={"If-Match": await own_etag(hub, service_name)})
    log = await exported(hub)
    mine = [entry for entry in log["entries"] if entry["service"] == service_name]
    assert [entry["action"] for entry in mine] == ["created", "updated", "deleted"]
    assert [entry["content"] for entry in mine] == ['{"a":1}', '{"a":2}', "null"]
    verifier = verified(log, Anchor(Position(1, log["head"]["revision"]), log["head"]["hash"]))
    assert verifier.flaws == []
    assert verifier.entries == log["head"]["revision"]
    assert log["differing_documents"] == []


async def test_a_large_content_ends_a_page_early_and_nothing_is_left_out(hub: RunningHub, service_name: str) -> None:
    for number in range(6):
        document = {"n": number, **{f"k{index}": "x" * 200_000 for index in range(5)}}
        answer = await hub.http.post(path(service_name), json={"config": document})
        assert answer.status_code == 200
    page = (await hub.http.get("/api/v1/audit", params={"limit": 1000})).json()
    assert page["next"] is not None
    assert verified(await exported(hub, limit=1000)).flaws == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE config_audit_log SET changed_by = 'x'",
        "DELETE FROM config_audit_log",
        "TRUNCATE config_audit_log CASCADE",
        "UPDATE config_contents SET content = '{}'",
        "DELETE FROM config_contents",
        "DROP TABLE config_audit_log CASCADE",
        "ALTER TABLE config_audit_log DISABLE TRIGGER ALL",
        "DELETE FROM service_configs",
        "INSERT INTO redactions VALUES (1, 0, now(), 'x', 'x')",
    ],
)
async def test_the_running_role_cannot_alter_the_log(database: DatabaseUrls, hub: RunningHub, statement: str) -> None:
    connection = await asyncpg.connect(database.running)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_hub_refuses_to_run_as_the_owner_of_the_log(start_hub: Any, database: DatabaseUrls) -> None:
    with pytest.raises(StartupRefused, match="another role than the owner"):
        await start_hub(DatabaseUrls(database.owner, database.owner))
