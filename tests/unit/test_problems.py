"""Errors as problem documents."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.api.problems import problem_body, problem_headers, send_problem
from central_hub.errors import (
    Conflict,
    Finding,
    HubError,
    SecretRejected,
    StoreUnavailable,
    TooManyConnections,
    Unauthenticated,
)


def every_error() -> list[type[HubError]]:
    return [HubError, *HubError.__subclasses__()]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_is_a_problem_document(kind: type[HubError]) -> None:
    document = json.loads(problem_body(kind("what to do")))
    assert document == {
        "type": f"urn:central-hub:error:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "what to do",
        "code": kind.code,
    }
    assert 400 <= kind.status < 600


def test_several_findings_point_into_the_document() -> None:
    error = SecretRejected("no", errors=[Finding("/a/0", "secret", "an AWS access key")])
    assert json.loads(problem_body(error))["errors"] == [
        {"pointer": "/a/0", "code": "secret", "message": "an AWS access key"}
    ]


def test_what_an_error_adds_is_in_the_document() -> None:
    assert json.loads(problem_body(Conflict("moved on", extra={"etag": '"1.2.ab"'})))["etag"] == '"1.2.ab"'


def test_the_headers_say_how_to_go_on() -> None:
    assert problem_headers(Unauthenticated("no"))["www-authenticate"] == "Bearer"
    assert problem_headers(TooManyConnections("no"))["retry-after"] == "1"
    assert problem_headers(StoreUnavailable("no"))["retry-after"] == "1"
    assert problem_headers(StoreUnavailable("no", headers={"Retry-After": "7"}))["retry-after"] == "7"
    assert problem_headers(Conflict("no"))["content-type"] == "application/problem+json"


@given(st.text())
async def test_no_header_ever_carries_a_line_break(value: str) -> None:
    sent = []

    async def send(message: object) -> None:
        sent.append(message)

    await send_problem(send, Conflict("no", headers={"X-Detail": value}))
    for name, found in sent[0]["headers"]:
        assert not {*b"\r\n"} & {*name, *found}
