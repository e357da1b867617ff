"""G14: whatever the way to a document, the same token gets the same decision, and a refusal tells nothing.

The routes are those of the running hub's own OpenAPI document: one that this file does not know fails it.
"""

import asyncio
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from central_hub.security.tokens import Verb
from tests.conftest import RunningHub

Route = tuple[str, str]

UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Policies are small enough to read as they are, and shrinking one takes minutes of requests."""

ONE = "/api/v1/config/{service}"
INSTANCE = "/api/v1/discovery/{service}/{instance_id}"
CONTRACTS = "/api/v1/config/contracts/{service}"
FLEET = ("/api/v1/config/status/", "/api/v1/config/contracts/", "/api/v1/discovery/", "/api/v1/health/")
"""Routes that `_global` has no part in: nobody runs it."""
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}


@dataclass(frozen=True)
class Way:
    """A request that touches a document. `{service}`, `{environment}` and `{revision}` are filled in everywhere."""

    verb: Verb
    method: str
    route: str
    query: dict[str, str] = field(default_factory=lambda: {"environment": "{environment}"})
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    also: frozenset[int] = frozenset()
    """What a covered request may be answered besides: there may be no schema yet."""

    @property
    def names_a_service(self) -> bool:
        return self.route != "/api/v1/config/"

    def reaches(self, service: str) -> bool:
        if self.route.startswith(FLEET):
            return service != "_global"
        return self.names_a_service or service == "_global"


def read(route: str, headers: dict[str, str] | None = None, **query: str) -> Way:
    return Way(Verb.READ, "GET", route, {"environment": "{environment}", **query}, headers=headers or {})


def update(route: str, **body: Any) -> Way:
    return Way(Verb.WRITE, "POST", route, {}, {"environment": "{environment}", **body})


def transaction(update: dict[str, Any], **fields: Any) -> Way:
    named = {"service": "{service}", "environment": "{environment}", **update}
    return Way(Verb.WRITE, "POST", "/api/v1/config/transaction", {}, {"updates": [named], **fields})


CONFIG = {"n": 1}
WAYS = [
    read("/api/v1/config/"),
    read(ONE),
    read(ONE, headers={"X-Request-Id": "takes-the-full-path"}),
    read(ONE, headers={"If-None-Match": "*"}),
    read(ONE, own="true"),
    read(ONE, explain="true"),
    read(ONE, blame="true"),
    read(ONE, at="{revision}"),
    read(ONE, at="2100-01-01T00:00:00Z"),
    read(ONE, after="0", wait="1"),
    read("/api/v1/config/history/{service}"),
    read("/api/v1/config/history/{service}", include="config"),
    read("/api/v1/config/diff/{service}"),
    read("/api/v1/config/diff/{service}", **{"from": "{revision}", "to": "{revision}"}),
    read("/api/v1/config/watch", service="{service}"),
    read("/api/v1/config/watch", service="{service}", after="{revision}"),
    read("/api/v1/config/watch", headers={"Last-Event-ID": "1.{revision}"}, service="{service}"),
    update(ONE, config=CONFIG),
    update(ONE, config=CONFIG, mode="merge"),
    update(ONE, config={"n": 2}, dry_run=True),
    update("/api/v1/config/update", service="{service}", config=CONFIG),
    update("/api/v1/config/update", service="{service}", config={"n": 2}, dry_run=True),
    update("/api/v1/config/validate/{service}", config=CONFIG),
    update("/api/v1/config/rollback/{service}", revision="{revision}"),
    transaction({"config": CONFIG}),
    transaction({"config": {"n": 2}}, dry_run=True),
    transaction({"schema": {"type": "object"}}),
    Way(Verb.WRITE, "PUT", ONE, json=CONFIG, headers={"If-Match": "*"}),
    Way(Verb.WRITE, "PUT", ONE, json=CONFIG),
    Way(Verb.WRITE, "PUT", ONE, {"environment": "{environment}", "dry_run": "true"}, CONFIG, {"If-Match": "*"}),
    Way(Verb.WRITE, "PATCH", ONE, json=CONFIG, headers=MERGE_PATCH),
    Way(Verb.WRITE, "PATCH", ONE, json=[], headers=JSON_PATCH),
    Way(Verb.WRITE, "DELETE", ONE),
    Way(Verb.WRITE, "PUT", "/api/v1/config/schema/{service}", json={"type": "object"}),
    Way(Verb.READ, "GET", "/api/v1/config/schema/{service}", also=frozenset({404})),
    Way(Verb.WRITE, "DELETE", "/api/v1/config/schema/{service}"),
    read("/api/v1/config/status/{service}"),
    read("/api/v1/discovery/{service}"),
    Way(Verb.READ, "GET", "/api/v1/health/services/{service}", also=frozenset({404})),
    read("/api/v1/discovery/watch", service="{service}"),
    Way(Verb.READ, "GET", "/api/v1/discovery/{service}/route", also=frozenset({503})),
    read(CONTRACTS),
    update(f"{CONTRACTS}/pin", builds=[]),
    Way(
        Verb.FORCE,
        "POST",
        f"{CONTRACTS}/retire",
        {},
        {"environment": "{environment}", "build": "1"},
        also=frozenset({404}),
    ),
    Way(
        Verb.REGISTER,
        "POST",
        "/api/v1/discovery/register",
        {},
        {"name": "{service}", "environment": "{environment}", "instance_id": "{instance_id}"},
    ),
    Way(Verb.REGISTER, "PUT", INSTANCE, json={"zone": "eu"}),
    Way(Verb.REGISTER, "DELETE", INSTANCE),
]
OTHER_ROUTES: dict[Route, Verb | None] = {
    ("GET", "/health/live"): None,
    ("GET", "/health/ready"): None,
    ("GET", "/health"): Verb.READ,
    ("GET", "/metrics"): Verb.READ,
    ("GET", "/api/v1/health/live"): None,
    ("GET", "/api/v1/health/ready"): None,
    ("GET", "/api/v1/health"): Verb.READ,
    ("GET", "/api/v1/metrics"): Verb.READ,
    ("GET", "/api/v1/keys"): Verb.READ,
    ("GET", "/api/v1/discovery/"): Verb.READ,
    ("GET", "/api/v1/health/services"): Verb.READ,
    ("GET", "/api/v1/infrastructure/"): Verb.READ,
    ("GET", "/api/v1/infrastructure/{name}"): Verb.READ,
    ("GET", "/api/v1/infrastructure/{name}/dependents"): Verb.READ,
    ("GET", "/api/v1/infrastructure/{name}/impact"): Verb.READ,
    ("GET", "/api/v1/dashboard/health"): Verb.READ,
    ("GET", "/api/v1/dashboard/summary"): Verb.READ,
    ("GET", "/api/v1/dashboard/dependencies"): Verb.READ,
    ("GET", "/api/v1/config/history"): Verb.READ,
    ("GET", "/api/v1/config/export"): Verb.READ,
    ("GET", "/api/v1/config/databases/all"): Verb.READ,
    ("GET", "/api/v1/config/database/{name}"): Verb.READ,
    ("GET", "/api/v1/config/messaging/{name}"): Verb.READ,
    ("POST", "/api/v1/config/rollback"): Verb.WRITE,
    ("POST", "/api/v1/discovery/heartbeat"): Verb.REGISTER,
    ("GET", "/api/v1/alerts/notifications"): Verb.READ,
    ("POST", "/api/v1/alerts/notifications/{notification_id}/redeliver"): Verb.WRITE,
    ("GET", "/api/v1/alerts"): Verb.READ,
    ("GET", "/api/v1/alerts/silences"): Verb.READ,
    ("GET", "/api/v1/alerts/{alert_id}"): Verb.READ,
    ("POST", "/api/v1/alerts/{alert_id}/acknowledge"): Verb.WRITE,
    ("POST", "/api/v1/alerts/{alert_id}/silence"): Verb.WRITE,
    ("POST", "/api/v1/alerts/test"): Verb.WRITE,
    ("DELETE", "/api/v1/alerts/silences/{silence_id}"): Verb.WRITE,
    ("GET", "/api/v1/audit"): Verb.ADMIN,
    ("GET", "/api/v1/tokens"): Verb.ADMIN,
    ("POST", "/api/v1/tokens"): Verb.ADMIN,
    ("DELETE", "/api/v1/tokens/{token_id}"): Verb.ADMIN,
}
"""Those that name neither service nor document: only the verb decides; None needs no token at all."""

FLEET_WIDE: dict[Route, Verb] = {("POST", "/api/v1/infrastructure/{name}/check"): Verb.WRITE}
"""Those that act on the whole fleet: they need the verb, and a token for every service and environment."""

MADE_UP = dict.fromkeys(("token_id", "notification_id", "alert_id", "silence_id", "name"), "0123456789abcdef")
"""Ids of what is not there."""

SERVICES = ("alpha-one", "beta-one", "_global")
NEVER_WRITTEN = "alpha-two"
ENVIRONMENTS = ("default", "staging")


@dataclass(frozen=True)
class Policy:
    """What `POST /tokens` is told that a token may do."""

    verbs: list[Verb]
    services: list[str]
    environments: list[str]

    def allows(self, verb: Verb, service: str, environment: str) -> bool:
        has_verb = verb in self.verbs or Verb.ADMIN in self.verbs
        in_services = service in self.services or (service != "_global" and matches(self.services, service))
        return has_verb and in_services and matches(self.environments, environment)


def matches(patterns: list[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@st.composite
def patterns(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    """A name, a star, or a name with a star in place of any part of it."""
    name = draw(st.sampled_from(names))
    start, end = sorted(draw(st.tuples(st.integers(0, len(name)), st.integers(0, len(name)))))
    starred = f"{name[:start]}*{name[end:]}"
    return draw(st.sampled_from([name, name if name == "_global" else starred, "*"]))


policies = st.builds(
    Policy,
    verbs=st.lists(st.sampled_from(Verb), min_size=1, max_size=3, unique=True),
    services=st.lists(patterns((*SERVICES, NEVER_WRITTEN)), max_size=3),
    environments=st.lists(patterns((*ENVIRONMENTS, "production")), max_size=2),
)


@dataclass(frozen=True)
class Answer:
    """What a caller learns from an answer, without the names he gave himself."""

    status: int
    headers: frozenset[tuple[str, str]]
    body: str


OF_EVERY_ANSWER = frozenset({"date", "x-request-id", "link", "content-length"})
"""Headers that differ by themselves: with the moment, or with the names that the caller gave."""


async def ask(hub: RunningHub, token: str, way: Way, prefix: str, **values: str) -> Answer:
    path = way.route.replace("/api/v1", prefix, 1).format(**values)
    headers = {"Authorization": f"Bearer {token}", **fill(way.headers, values)}
    async with hub.http.stream(
        way.method, path, params=fill(way.query, values), json=fill(way.json, values), headers=headers
    ) as answer:
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        body = "" if is_stream else (await answer.aread()).decode()
    for name in ("service", "environment"):
        body = body.replace(values[name], name)
    told = {name: value for name, value in answer.headers.items() if name not in OF_EVERY_ANSWER}
    return Answer(answer.status_code, frozenset(told.items()), body)


def fill(value: Any, values: dict[str, str]) -> Any:
    """The value with its placeholders filled in, at every depth."""
    if isinstance(value, dict):
        return {key: fill(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, values) for inner in value]
    return value.format(**values) if isinstance(value, str) else value


async def routes_of(hub: RunningHub) -> list[Route]:
    paths = (await hub.http.get("/openapi.json")).json()["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


@pytest.fixture(scope="module")
async def revision(hub: RunningHub) -> int:
    """The last commit, when there are documents of every service in every environment."""
    last = 0
    for service in SERVICES:
        for environment in ENVIRONMENTS:
            body = {"service": service, "environment": environment, "config": CONFIG}
            last = (await hub.http.post("/api/v1/config/update", json=body)).json()["revision"]
    return last


async def test_every_route_of_the_running_hub_is_decided_here(hub: RunningHub) -> None:
    assert {(way.method, way.route) for way in WAYS} | OTHER_ROUTES.keys() | FLEET_WIDE.keys() == set(
        await routes_of(hub)
    )


@pytest.mark.timeout(120)
@settings(max_examples=25, deadline=None, phases=UNSHRUNK)
@given(
    policy=policies,
    service=st.sampled_from(SERVICES),
    environment=st.sampled_from(ENVIRONMENTS),
    prefix=st.sampled_from(["/api/v1", "/api"]),
)
async def test_every_way_to_a_document_gets_the_decision_of_the_policy(
    hub: RunningHub, revision: int, policy: Policy, service: str, environment: str, prefix: str
) -> None:
    token = await hub.new_token(verbs=policy.verbs, services=policy.services, environments=policy.environments)
    values = {"environment": environment, "revision": str(revision), "instance_id": "one"}
    for way in filter(lambda way: way.reaches(service), WAYS):
        answer = await ask(hub, token, way, prefix, service=service, **values)
        if policy.allows(way.verb, service, environment):
            assert answer.status in {200, 204, 304, 428} | way.also, (way, answer)
            continue
        assert answer.status == 403, (way, answer)
        if way.names_a_service and not policy.allows(way.verb, NEVER_WRITTEN, environment):
            assert answer == await ask(hub, token, way, prefix, service=NEVER_WRITTEN, **values), way


@settings(max_examples=10, deadline=None, phases=UNSHRUNK)
@given(policy=policies)
async def test_a_route_that_touches_no_document_is_decided_by_the_verb_alone(hub: RunningHub, policy: Policy) -> None:
    token = await hub.new_token(verbs=policy.verbs, services=policy.services, environments=policy.environments)
    for (method, path), verb in OTHER_ROUTES.items():
        answer = await hub.http.request(method, path.format_map(MADE_UP), headers={"Authorization": f"Bearer {token}"})
        may = verb is None or verb in policy.verbs or Verb.ADMIN in policy.verbs
        assert (answer.status_code != 403) == may, (method, path, answer.text)
        assert answer.status_code not in (401, 500), (method, path, answer.text)
    is_for_all = "*" in policy.services and "*" in policy.environments
    for (method, path), verb in FLEET_WIDE.items():
        answer = await hub.http.request(method, path.format_map(MADE_UP), headers={"Authorization": f"Bearer {token}"})
        may = is_for_all and (verb in policy.verbs or Verb.ADMIN in policy.verbs)
        assert answer.status_code == (404 if may else 403), (method, path, answer.text)


SEPARATORS = ["//", "/./", "/%2e/", "/x/../", "%2f", "%2F", "%5c", ";x/", "/;x/", "%00/", "/%20"]
ENDINGS = ["/", "//", "/.", "/%2e", "/..", "/x/..", ";x", "%2f", "%00", "%20", "%0a", "%3f", ".json", "?x", "#x"]


def spellings(path: str) -> list[str]:
    """The path with another separator at one of its slashes, with another end, or in another case."""
    slashes = [match.start() for match in re.finditer("/", path)]
    inside = [path[:at] + separator + path[at + 1 :] for at in slashes for separator in SEPARATORS]
    return [*inside, *(path + ending for ending in ENDINGS), path.upper(), path.replace("/", "%2f")]


async def raw_statuses(hub: RunningHub, method: str, targets: list[str]) -> dict[str, int]:
    """The status of a request with exactly each target, without a token: clients normalise, attackers do not."""
    host, _, port = hub.url.removeprefix("http://").partition(":")
    found = {}
    for target in targets:
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {host}:{port}",
            "Connection: close",
            "Content-Length: 0",
            "",
            "",
        ]
        writer.write("\r\n".join(lines).encode())
        found[target] = int((await reader.readline()).split()[1])
        writer.close()
    return found


@pytest.mark.timeout(120)
async def test_without_a_token_no_spelling_of_any_route_and_method_answers(hub: RunningHub, revision: int) -> None:
    for method, route in await routes_of(hub):
        path = route.format_map({"service": SERVICES[0], "instance_id": "one"} | MADE_UP)
        targets = spellings(path)
        if OTHER_ROUTES.get((method, route), Verb.READ) is not None:
            targets += [path, path.replace("/api/v1", "/api", 1)]
        else:
            targets = [target for target in targets if not target.endswith(("?x", "#x"))]
        answered = {
            target: status
            for target, status in (await raw_statuses(hub, method, targets)).items()
            if status not in (400, 401)
        }
        assert answered == {}, method
