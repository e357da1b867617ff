"""Schemas as people write them: all of them can be registered, and each accepts and refuses what it should."""

import asyncio

import httpx2

from tests.conftest import RunningHub
from tests.integration.schemastore import Example, examples

ANY_SIZE = {"allow": ["delta", "type_reuse"]}
"""One document takes the place of another one that has nothing to do with it."""


async def put(hub: RunningHub, service: str, document: dict[str, object]) -> httpx2.Response:
    path = f"/api/v1/config/{service}"
    exists = (await hub.http.get(path)).status_code == 200
    return await hub.http.put(path, json=document, params=ANY_SIZE, headers={"If-Match": "*"} if exists else {})


async def faults(hub: RunningHub, example: Example) -> list[str]:
    """What the hub answers otherwise than the example says."""
    path = f"/api/v1/config/schema/{example.service}"
    registered = await hub.http.put(path, json=example.schema)
    if registered.status_code != 200:
        return [f"{example.service}: {registered.text}"]
    assert (await hub.http.get(path)).json() == example.schema
    found = []
    for name, document in example.valid.items():
        answer = await put(hub, example.service, document)
        if answer.status_code != 200:
            found.append(f"{example.service} {name}: {answer.text}")
    for name, document in example.invalid.items():
        answer = await put(hub, example.service, document)
        if answer.status_code != 422 or answer.json()["code"] != "schema_violation" or not _are_readable(answer):
            found.append(f"{example.service} {name}: {answer.text}")
    return found


def _are_readable(answer: httpx2.Response) -> bool:
    errors = answer.json()["errors"]
    pointers = all(error["pointer"] == "" or error["pointer"].startswith("/") for error in errors)
    return bool(errors) and pointers and all(error["message"] for error in errors)


async def test_real_schemas_accept_and_refuse_what_they_should(hub: RunningHub) -> None:
    known = list(examples())
    assert len({example.service for example in known}) == 87
    assert sum(len(example.valid) for example in known) == 322
    assert sum(len(example.invalid) for example in known) == 282
    found = await asyncio.gather(*(faults(hub, example) for example in known))
    assert [fault for of_one in found for fault in of_one] == []
