"""The class of an error follows from the problem document."""

import pytest

from central_hub_client.errors import (
    CentralHubError,
    Conflict,
    Finding,
    Forbidden,
    HistoryGone,
    HubUnavailable,
    InvalidConfig,
    InvalidRequest,
    NotFound,
    UpdateRefused,
    error_from,
)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "forbidden", Forbidden),
        (404, "not_found", NotFound),
        (409, "removals_not_allowed", UpdateRefused),
        (409, "idempotency_mismatch", Conflict),
        (410, "epoch_changed", HistoryGone),
        (412, "revision_conflict", Conflict),
        (422, "secret_rejected", InvalidConfig),
        (422, "invalid_name", InvalidRequest),
        (503, "replica_behind", HubUnavailable),
        (422, "a_code_of_next_year", InvalidRequest),
        (500, "internal_error", HubUnavailable),
        (418, "teapot", CentralHubError),
    ],
)
def test_the_code_decides_and_where_it_is_unknown_the_status(
    status: int, code: str, expected: type[CentralHubError]
) -> None:
    error = error_from(status, {"code": code, "detail": "a sentence"})
    assert (type(error), error.code, error.status, str(error)) == (expected, code, status, "a sentence")


def test_what_is_wrong_where_and_what_else_was_said_are_kept() -> None:
    problem = {
        "type": "about:blank",
        "title": "The update would remove keys",
        "status": 409,
        "code": "removals_not_allowed",
        "detail": "2 keys would go",
        "errors": [{"pointer": "/a", "code": "removed", "message": "would be removed"}, "nonsense"],
        "removals": ["/a", "/b"],
    }
    error = error_from(409, problem, retry_after_seconds=3.0)
    assert error.errors == (Finding("/a", "removed", "would be removed"),)
    assert error.extra == {"removals": ["/a", "/b"]}
    assert error.retry_after_seconds == 3.0


@pytest.mark.parametrize("body", [None, [], "text", {"code": 5, "detail": [], "errors": {}}])
def test_an_answer_without_a_problem_document_is_judged_by_its_status(body: object) -> None:
    error = error_from(404, body)
    assert (type(error), error.code) == (NotFound, "not_found")
    assert error.detail == "the answer was HTTP 404 without a reason"
