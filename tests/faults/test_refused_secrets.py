"""What is refused as a secret is nowhere afterwards: no answer, log, metric, row, message or file has it."""

import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import nats
import pytest

from tests.faults.harness import Fleet, own_fleet
from tests.integration.test_config_documents import MERGE, PATCH
from tests.unit.test_secrets import PRIVATE, URL_SAFE, b64url, pem, some
from tests.wire.waiting import until

SERVICE = "billing"
PATH = f"/api/v1/config/{SERVICE}"
HARMLESS = "an-ordinary-value-that-is-kept"


@dataclass(frozen=True)
class Secret:
    """A credential, and the part of it that nobody may ever see again."""

    text: str
    core: str


def a_token() -> Secret:
    core = some("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 36)
    return Secret("gh" + "p_" + core, core)


def a_url() -> Secret:
    core = some("abcdefghijkmnpqrstuvwxyz23456789", 20)
    return Secret(f"postgres://hub:{core}@db.internal/hub", core)


def a_jwt() -> Secret:
    core = some(URL_SAFE, 43)
    return Secret(f"{b64url({'alg': 'HS256'})}.{b64url({'sub': 'billing'})}.{core}", core)


def a_private_key() -> Secret:
    text = pem(PRIVATE)
    return Secret(text, text.splitlines()[2])


Ask = Callable[[httpx2.AsyncClient, Secret], Any]


def update(config: Any, **fields: Any) -> dict[str, Any]:
    return {"config": config, **fields}


def nested(value: Any, keys: list[str]) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def patch(http: httpx2.AsyncClient, *operations: dict[str, Any]) -> Any:
    return http.patch(PATH, content=json.dumps(operations), headers=PATCH)


def transact(http: httpx2.AsyncClient, *updates: dict[str, Any], **fields: Any) -> Any:
    """The first update is of the document that there is."""
    named = [{"service": SERVICE if number == 0 else f"new-{number}", **one} for number, one in enumerate(updates)]
    return http.post("/api/v1/config/transaction", json={"updates": named, **fields})


def pointer(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")


WAYS: dict[str, Ask] = {
    "a new document": lambda http, it: http.put("/api/v1/config/new", json={"a": it.text}),
    "a key name": lambda http, it: http.put("/api/v1/config/new", json={"a": {it.text: 1}}),
    "a replacement": lambda http, it: http.put(PATH, json={"a": [it.text]}, headers={"If-Match": "*"}),
    "a stale replacement": lambda http, it: http.put(PATH, json={"a": it.text}, headers={"If-Match": '"1.1.x"'}),
    "an update": lambda http, it: http.post(PATH, json=update({"a": it.text})),
    "a stale update": lambda http, it: http.post(PATH, json=update({"a": it.text}, expected_revision=99)),
    "a merge": lambda http, it: http.post(PATH, json=update({"a": {"b": it.text}}, mode="merge")),
    "an update by name": lambda http, it: http.post(
        "/api/v1/config/update", json=update({"a": it.text}, service=SERVICE)
    ),
    "a merge patch": lambda http, it: http.patch(PATH, content=json.dumps({"a": it.text}), headers=MERGE),
    "a JSON patch": lambda http, it: patch(http, {"op": "add", "path": "/a", "value": it.text}),
    "the path of a JSON patch": lambda http, it: patch(http, {"op": "remove", "path": f"/{pointer(it.text)}/x"}),
    "the test of a JSON patch": lambda http, it: patch(http, {"op": "test", "path": "/kept", "value": it.text}),
    "the path of a test": lambda http, it: patch(http, {"op": "test", "path": f"/{pointer(it.text)}", "value": 1}),
    "the source of a copy": lambda http, it: patch(
        http, {"op": "copy", "from": f"/{pointer(it.text)}", "path": "/b"}
    ),
    "a dry run": lambda http, it: http.post(PATH, json=update({"a": it.text}, dry_run=True)),
    "what is not allowed enough": lambda http, it: http.post(
        PATH, json=update({"a": it.text}, allow=["secret:/b"], reason="b is fine")
    ),
    "a guard without a reason": lambda http, it: http.post(PATH, json=update({"a": it.text}, allow=["secret:/a"])),
    "the name of a guard": lambda http, it: http.post(PATH, json=update({"a": 1}, allow=[it.text])),
    "a reason": lambda http, it: http.put(PATH, json={"a": 1}, headers={"If-Match": "*"}, params={"reason": it.text}),
    "the reason of an update": lambda http, it: http.post(PATH, json=update({"a": 1}, reason=f"use {it.text}")),
    "a version": lambda http, it: http.post(PATH, json=update({"a": 1}, version=it.text)),
    "the reason of a rollback": lambda http, it: http.post(
        f"/api/v1/config/rollback/{SERVICE}", json={"revision": 1, "reason": it.text}
    ),
    "a transaction": lambda http, it: transact(http, update({"a": 1}), update({"a": it.text})),
    "a stale transaction": lambda http, it: transact(http, update({it.text: it.text}, expected_revision=99)),
    "a key below what is too deep in a transaction": lambda http, it: transact(
        http, update({"a": it.text}), update(nested(1, [it.text] * 40))
    ),
    "a schema in a transaction": lambda http, it: transact(http, {"schema": {"const": it.text}}),
    "the reason of a transaction": lambda http, it: transact(http, update({"a": 1}), reason=it.text),
    "the name of who manages": lambda http, it: transact(
        http, update({"kept": HARMLESS}), managed_by=it.text
    ),
    "a name in a transaction": lambda http, it: transact(http, update({"a": 1}, environment=it.text)),
    "the reason of a whole rollback": lambda http, it: http.post(
        "/api/v1/config/rollback", json={"revision": 1, "reason": it.text}
    ),
    "the reason of a deletion": lambda http, it: http.delete(
        PATH, params={"reason": it.text}, headers={"If-Match": "*"}
    ),
    "a revision": lambda http, it: http.post(f"/api/v1/config/rollback/{SERVICE}", json={"revision": it.text}),
    "below what is too deep": lambda http, it: http.put("/api/v1/config/new", json=nested(1, [it.text] * 40)),
    "beside what is too deep": lambda http, it: http.put("/api/v1/config/new", json=nested(it.text, ["k"] * 40)),
    "a key that is too long": lambda http, it: http.put("/api/v1/config/new", json={it.text: {"k" * 200: 1}}),
    "an unknown field": lambda http, it: http.post(PATH, json=update({"a": 1}, **{it.text: it.text})),
    "a field of a wrong type": lambda http, it: http.post(PATH, json=update(it.text)),
    "an unknown parameter": lambda http, it: http.put(PATH, json={}, params={it.text: it.text}),
    "an environment": lambda http, it: http.put(PATH, json={}, params={"environment": it.text}),
    "a name": lambda http, it: http.put(f"/api/v1/config/{quote(it.text, safe='')}", json={}),
    "a document that breaks off": lambda http, it: http.put(PATH, content=json.dumps({"a": it.text})[:-1]),
    "a key that comes twice": lambda http, it: http.put(
        PATH, content=f"{{{json.dumps(it.text)}:1,{json.dumps(it.text)}:2}}"
    ),
    "a false reference": lambda http, it: http.post(PATH, json=update({"a": {"$secret": it.text}})),
    "a true one with a password": lambda http, it: http.post(PATH, json=update({"a": {"$secret": "x://" + it.text}})),
    "an If-Match": lambda http, it: http.put(PATH, json={}, headers={"If-Match": quote(it.text)}),
}  # fmt: skip
"""Everywhere that a request may have it."""


@pytest.fixture(scope="module")
async def fleet() -> AsyncIterator[Fleet]:
    async with own_fleet(hubs=0) as fleet:
        hub = fleet.add_hub(log_level="debug")
        await hub.start()
        kept = await hub.http.put(PATH, json={"kept": HARMLESS})
        assert kept.status_code == 200, kept.text
        yield fleet


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
async def test_no_answer_repeats_what_it_refuses(fleet: Fleet, way: Ask) -> None:
    for number, secret in enumerate([a_token(), a_url(), a_jwt(), a_private_key()]):
        http = fleet.hubs[0].http
        http.headers["Idempotency-Key"] = f"try-{number}"
        try:
            answer = await way(http, secret)
        finally:
            del http.headers["Idempotency-Key"]
        assert 400 <= answer.status_code < 500, answer.text
        assert secret.core not in answer.text
        assert secret.core not in repr(answer.headers)


async def test_nothing_that_is_refused_is_kept_or_told_anywhere(fleet: Fleet) -> None:
    hub = fleet.hubs[0]
    secrets: list[Secret] = []
    async with messages(fleet) as heard:
        for number, way in enumerate(WAYS.values()):
            for secret in [a_token(), a_url(), a_jwt(), a_private_key()]:
                secrets.append(secret)
                hub.http.headers["Idempotency-Key"] = f"once-{number}-{len(secrets)}"
                assert (await way(hub.http, secret)).status_code >= 400
        hub.http.headers["Idempotency-Key"] = "the-last"
        last = await hub.http.post(PATH, json=update({"kept": f"{HARMLESS}-after-all"}))
        assert last.json()["revision"] == 2, "none of the writes before was to be stored"
        await until(lambda: f"{HARMLESS}-after-all".encode() in b"".join(heard))
    places = {
        "the database": await rows(fleet),
        "the metrics": (await hub.http.get("/metrics")).content,
        "the log": hub.log().encode(),
        "the bus": b"".join(heard),
    }
    # What is kept is found there: the search itself works.
    assert all(HARMLESS.encode() in places[name] for name in ("the database", "the bus"))
    assert b"the-last" in places["the database"]
    assert b"status=422" in places["the log"]
    assert b'outcome="secret_rejected"' in places["the metrics"]
    found = {name: [secret for secret in secrets if in_any_spelling(secret, place)] for name, place in places.items()}
    assert not any(found.values()), found
    assert files_with(fleet.directory, [HARMLESS.encode()])
    assert files_with(fleet.directory, [secret.core.encode() for secret in secrets]) == []


async def test_idempotency_keys_of_refused_writes_are_free_again(fleet: Fleet) -> None:
    http, headers = fleet.hubs[0].http, {"Idempotency-Key": "used-twice"}
    refused = await http.post(PATH, json=update({"a": a_token().text}), headers=headers)
    assert refused.status_code == 422
    done = await http.post(PATH, json=update({"a": 1}, mode="merge"), headers=headers)
    assert done.status_code == 200, done.text


@asynccontextmanager
async def messages(fleet: Fleet) -> AsyncIterator[list[bytes]]:
    """Everything on the bus, with its headers."""
    heard: list[bytes] = []

    async def take(message: Any) -> None:
        heard.append(f"{message.subject} {message.headers}".encode() + message.data)

    bus = await nats.connect(fleet.endpoints.nats_url)
    try:
        await bus.subscribe("config.>", cb=take)
        await bus.flush()
        yield heard
    finally:
        await bus.close()


async def rows(fleet: Fleet) -> bytes:
    """Every row of every table."""
    connection = await fleet.as_superuser()
    try:
        await connection.execute("CHECKPOINT")  # so that it lies in files, too
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert len(tables) >= 9
        texts = []
        for (table,) in tables:
            texts += [row[0] for row in await connection.fetch(f'SELECT t::text FROM "{table}" AS t')]  # noqa: S608
        return "\n".join(texts).encode()
    finally:
        await connection.close()


def in_any_spelling(secret: Secret, place: bytes) -> bool:
    core = secret.core.encode()
    return core in place or core.hex().encode() in place or base64.b64encode(core)[:-4] in place


def files_with(directory: Path, needles: list[bytes]) -> list[Path]:
    pattern = re.compile(b"|".join(map(re.escape, needles)))
    return [path for path in _files(directory) if pattern.search(path.read_bytes())]


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
