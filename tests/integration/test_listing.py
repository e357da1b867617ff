"""What there is, as whoever carries it elsewhere is told."""

from typing import Any

import pytest

from central_hub.config import listing
from tests.conftest import RunningHub
from tests.integration.test_config_documents import assert_problem, put
from tests.integration.test_transactions import transacted

EXPORT = "/api/v1/config/export"


async def pages(hub: RunningHub, **query: Any) -> list[dict[str, Any]]:
    found = []
    after = None
    while True:
        answer = await hub.http.get(EXPORT, params={**query, **({} if after is None else {"after": after})})
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        after = found[-1]["next"]
        if after is None:
            return found


def named(page: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(entry["kind"], entry["service"], entry["environment"]) for entry in page["entries"]]


async def test_documents_and_schemas_are_listed_with_who_looks_after_them(hub: RunningHub, service_name: str) -> None:
    other = f"{service_name}-b"
    updates = [
        {"service": service_name, "config": {"a": 1}},
        {"service": service_name, "schema": {"maximum": 2**70}},
    ]
    outcome = await transacted(hub, *updates, managed_by="fleet-repository")
    await put(hub, service_name, {"a": 2}, params={"environment": "staging"})
    revision = (await put(hub, other, {"b": 1})).json()["revision"]
    await transacted(hub, {"service": other, "delete": "document", "expected_revision": revision})
    (page,) = await pages(hub, service=[service_name, other])
    assert named(page) == [
        ("document", service_name, "default"),
        ("document", service_name, "staging"),
        ("schema", service_name, "default"),
    ]
    managers = [entry["managed_by"] for entry in page["entries"]]
    assert managers == ["fleet-repository", None, "fleet-repository"]
    assert page["entries"][0]["revision"] == outcome["revision"]
    assert page["revision"] > outcome["revision"]
    assert not any("config" in entry for entry in page["entries"])
    (page,) = await pages(hub, service=service_name, environment="default", include="config")
    assert [entry["config"] for entry in page["entries"]] == [{"a": 1}, {"maximum": 2**70}]


async def test_a_long_list_comes_in_pages_that_leave_nothing_out(
    hub: RunningHub, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = [f"{service_name}-{number}" for number in range(7)]
    await transacted(hub, *({"service": service, "config": {"text": "x" * 500}} for service in services))
    everything = [("document", service, "default") for service in services]
    monkeypatch.setattr(listing, "PAGE_ENTRIES", 3)
    found = await pages(hub, service=services)
    assert [len(page["entries"]) for page in found] == [3, 3, 1]
    assert [name for page in found for name in named(page)] == everything
    monkeypatch.setattr(listing, "PAGE_ENTRIES", 100)
    monkeypatch.setattr(listing, "PAGE_BYTES", 1200)
    found = await pages(hub, service=services, include="config")
    assert [len(page["entries"]) for page in found] == [3, 3, 1]
    assert [name for page in found for name in named(page)] == everything


async def test_nobody_is_told_of_what_his_token_does_not_cover(hub: RunningHub, service_name: str) -> None:
    await transacted(
        hub,
        *({"service": service_name, "environment": place, "config": {"a": 1}} for place in ("default", "staging")),
        {"service": f"{service_name}-b", "config": {"a": 1}},
        {"service": service_name, "schema": {}},
    )
    token = await hub.new_token(services=[service_name], environments=["staging"])
    async with hub.client(token) as http:
        page = (await http.get(EXPORT, params={"include": "config"})).json()
        assert named(page) == [("document", service_name, "staging")]
    async with hub.client(await hub.new_token(verbs=["write"])) as writer:
        assert_problem(await writer.get(EXPORT), 403, "forbidden")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"service": "UPPER"}, "invalid_name"),
        ({"environment": "A"}, "invalid_name"),
        ({"after": "nothing"}, "invalid_request"),
        ({"after": "document/only"}, "invalid_request"),
        ({"include": "all"}, "invalid_request"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(hub: RunningHub, query: dict[str, str], code: str) -> None:
    assert_problem(await hub.http.get(EXPORT, params=query), 422, code)
