"""A change may reach configs that its author's token does not cover: he is told that they refuse it, and no more."""

from typing import Any

import httpx2
import pytest

from tests.conftest import RunningHub
from tests.integration.instances import register
from tests.integration.test_contracts import SMALL
from tests.integration.test_schemas import register as register_schema
from tests.integration.test_schemas import stored

HIDDEN = ("secret-build", "secret-instance", "must be 100 or less", "secret-environment")


async def proposed(http: httpx2.AsyncClient, service: str, config: dict[str, Any], **headers: str) -> httpx2.Response:
    body = {"service": service, "config": config, "mode": "merge"}
    return await http.post("/api/v1/config/update", json=body, headers=headers)


async def watched(hub: RunningHub, service: str, schema: dict[str, Any], environment: str = "default") -> None:
    await register(hub.http, service, "secret-instance", build="secret-build", schema=schema, environment=environment)


@pytest.mark.parametrize("kind", ["contract_violation", "schema_violation"])
async def test_who_refuses_a_change_for_all_is_told_to_whom_it_may_be(
    hub: RunningHub, service_name: str, kind: str
) -> None:
    key = f"shared-{service_name}"
    schema = {"type": "object", "properties": {key: {"type": "integer", "maximum": 100}}}
    await stored(hub, service_name, {"a": 1})
    if kind == "contract_violation":
        await watched(hub, service_name, schema)
    else:
        await register_schema(hub, service_name, schema)
    narrow = hub.client(await hub.new_token(verbs=["write"], services=["_global"]))
    refused = await proposed(narrow, "_global", {key: 200})
    assert (refused.status_code, refused.json()["code"]) == (422, kind)
    assert "errors" not in refused.json()
    assert "1 more in configs that this token does not cover" in refused.json()["detail"]
    assert service_name not in refused.text
    assert not [word for word in HIDDEN if word in refused.text]
    wide = hub.client(await hub.new_token(verbs=["write"], services=["_global", service_name]))
    told = await proposed(wide, "_global", {key: 200})
    assert [error["service"] for error in told.json()["errors"]] == [service_name]


async def test_a_transaction_tells_no_more_than_a_single_write(hub: RunningHub, service_name: str) -> None:
    key, own = f"shared-{service_name}", f"{service_name}-own"
    await stored(hub, service_name, {"a": 1})
    await watched(hub, service_name, {"type": "object", "properties": {key: {"type": "integer", "maximum": 100}}})
    narrow = hub.client(await hub.new_token(verbs=["write"], services=["_global", own]))
    for value, status in ((200, 422), (1, 200)):
        shared = {"service": "_global", "config": {key: value}, "mode": "merge"}
        updates = [shared, {"service": own, "config": {"a": value}}]
        answer = await narrow.post("/api/v1/config/transaction", json={"updates": updates})
        assert answer.status_code == status, answer.text
        hidden = answer.text.replace(key, "").replace(own, "")
        assert not [word for word in (service_name, *HIDDEN) if word in hidden]


async def test_of_several_environments_only_those_covered_are_spoken_of(hub: RunningHub, service_name: str) -> None:
    await stored(hub, service_name, {"batch": 1})
    await watched(hub, service_name, SMALL, "secret-environment")
    await register(hub.http, service_name, "own", build="own", schema=SMALL)
    narrow = hub.client(await hub.new_token(verbs=["write"], services=[service_name], environments=["default"]))
    refused = await proposed(narrow, service_name, {"batch": 200})
    assert [error["build"] for error in refused.json()["errors"]] == ["own"]
    assert "1 more in configs that this token does not cover" in refused.json()["detail"]
    assert not [word for word in ("secret-build", "secret-instance", "secret-environment") if word in refused.text]


@pytest.mark.parametrize("repeats", [1, 2])
async def test_warnings_of_what_is_not_covered_are_counted(hub: RunningHub, service_name: str, repeats: int) -> None:
    await stored(hub, service_name, {"a": 1})
    await watched(hub, service_name, {"not": {}})
    narrow = hub.client(await hub.new_token(verbs=["write"], services=["_global"]))
    key = f"shared-{service_name}"
    for _ in range(repeats):
        answer = await proposed(narrow, "_global", {key: 1}, **{"Idempotency-Key": service_name})
        assert answer.status_code == 200, answer.text
        assert not [word for word in (service_name, *HIDDEN) if word in answer.text.replace(key, "")]
        [told] = [warning for warning in answer.json()["warnings"] if warning["code"] == "unheard_consumer"]
        assert told["message"].endswith("in configs that this token does not cover")
