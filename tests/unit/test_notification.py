"""What is told on channels: the payload that receivers get, and the text that people read."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from central_hub.monitoring.notification import (
    LONGEST_LINE,
    LONGEST_TITLE,
    SHOWN_AFFECTED,
    SHOWN_ALERTS,
    Event,
    ToldAlert,
    compose,
    for_test,
    read,
)
from central_hub.monitoring.rules import Severity

SINCE = datetime(2026, 11, 29, 12, 0, 5, tzinfo=UTC)


def alert(**changes: object) -> ToldAlert:
    values: dict[str, object] = {
        "id": "a1",
        "rule": "infrastructure-down",
        "severity": Severity.CRITICAL,
        "subject": "postgresql",
        "state": "firing",
        "summary": "postgresql has been unhealthy for 60 s",
        "reason": "the connection was refused",
        "since": SINCE,
        "fired_at": SINCE + timedelta(seconds=60),
        "labels": {"team": "platform"},
        "affected": ("tick-aggregator", "data-bridge"),
    }
    return ToldAlert(**(values | changes))  # type: ignore[arg-type]


def test_the_payload_is_what_receivers_are_promised() -> None:
    told = compose("n1", Event.FIRING, [alert()], "hub-7")
    assert json.loads(told.payload) == {
        "version": 1,
        "id": "n1",
        "event": "firing",
        "severity": "critical",
        "title": "Firing, critical: postgresql: postgresql has been unhealthy for 60 s",
        "hub": "hub-7",
        "alerts": [
            {
                "id": "a1",
                "rule": "infrastructure-down",
                "severity": "critical",
                "subject": "postgresql",
                "environment": "",
                "state": "firing",
                "summary": "postgresql has been unhealthy for 60 s",
                "reason": "the connection was refused",
                "since": "2026-11-29T12:00:05+00:00",
                "fired_at": "2026-11-29T12:01:05+00:00",
                "resolved_at": None,
                "labels": {"team": "platform"},
                "affected": ["tick-aggregator", "data-bridge"],
                "caused_by": [],
            }
        ],
    }


def test_what_was_stored_is_read_as_it_was() -> None:
    told = compose(
        "n1", Event.RESOLVED, [alert(resolved_at=SINCE, caused_by=("nats",)), alert(environment="prod")], "hüb"
    )
    assert read(told.payload) == told


def test_what_a_later_version_added_is_kept_for_receivers_and_not_minded_here() -> None:
    told = compose("n1", Event.FIRING, [alert()], "hub-7")
    more = json.loads(told.payload)
    more["added"] = more["alerts"][0]["added"] = 1
    found = read(json.dumps(more))
    assert found.alerts == told.alerts
    assert json.loads(found.payload) == more


@pytest.mark.parametrize(
    "payload", ["", "[]", "{}", "null", '{"version": 2}', '{"version": 1, "id": "x"}', '{"version": 1, "alerts": [1]}']
)
def test_what_is_no_notification_is_refused(payload: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(payload)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": ["billing"]},
        {"environment": None},
        {"summary": "\ud800"},
        {"affected": [1]},
        {"affected": 5},
        {"labels": [1]},
        {"labels": {"a": {}}},
        {"severity": "loud"},
        {"since": "yesterday"},
    ],
)
def test_an_alert_of_another_shape_is_refused(wrong: dict[str, object]) -> None:
    stored = json.loads(compose("n1", Event.FIRING, [alert()], "hub-7").payload)
    stored["alerts"][0] |= wrong
    for payload in (json.dumps(stored), json.dumps(stored | {"alerts": []}), "[" * 100_000):
        with pytest.raises(ValueError, match=r"."):
            read(payload)


def test_a_notification_is_as_bad_as_its_worst_alert() -> None:
    severities = (Severity.INFO, Severity.CRITICAL, Severity.WARNING)
    assert compose("n1", Event.FIRING, [alert(severity=one) for one in severities], "h").severity is Severity.CRITICAL


def test_people_read_what_why_since_when_and_who_is_hit() -> None:
    told = compose("n1", Event.FIRING, [alert()], "hub-7")
    assert told.body.splitlines() == [
        "postgresql has been unhealthy for 60 s",
        "postgresql, rule infrastructure-down, critical",
        "Why: the connection was refused",
        "Since 2026-11-29 12:00:05 UTC",
        "Hit: tick-aggregator, data-bridge",
        "team: platform",
    ]


def test_people_are_told_that_it_is_over_and_whose_fault_it_was() -> None:
    over = SINCE.astimezone(timezone(timedelta(hours=2))) + timedelta(minutes=1)
    resolved = alert(
        resolved_at=over, caused_by=("nats",), environment="production", subject="billing", summary="billing was down"
    )
    told = compose("n1", Event.RESOLVED, [resolved, alert()], "hub-7")
    assert told.title == "Resolved, critical: billing in production and 1 more: billing was down"
    first, second = told.body.split("\n\n")
    assert "Since 2026-11-29 12:00:05 UTC, over since 2026-11-29 12:01:05 UTC" in first
    assert "Because of: nats" in first
    assert second.startswith("postgresql")


def test_a_thousand_who_are_hit_do_not_fill_the_screen_but_the_payload_has_them() -> None:
    names = [f"service-{number}" for number in range(1000)]
    told = compose("n1", Event.FIRING, [alert(affected=names)], "hub-7")
    assert told.body.count("service-") == SHOWN_AFFECTED
    assert f"and {1000 - SHOWN_AFFECTED} more" in told.body
    assert json.loads(told.payload)["alerts"][0]["affected"] == names


def test_who_writes_a_reason_can_neither_break_a_line_nor_fill_a_page() -> None:
    forged = "no\r\nBcc: x\n\nFiring, critical: \x1b[31mnats is down\u202e" + "x" * 100_000
    told = compose("n1", Event.FIRING, [alert(summary=forged, reason=forged, labels={"a": forged})], "hub-7")
    assert told.title.startswith("Firing, critical: postgresql: no Bcc: x Firing, critical: [31mnats is down x")
    assert len(told.title) == LONGEST_TITLE
    assert told.title.isprintable()
    assert len(told.body.splitlines()) == 5
    assert all(line.isprintable() and len(line) <= LONGEST_LINE for line in told.body.splitlines())
    assert json.loads(told.payload)["alerts"][0]["reason"] == forged


def test_thousands_of_alerts_make_no_longer_text_than_some() -> None:
    told = compose("n1", Event.FIRING, [alert(affected=())] * 5000, "hub-7")
    assert told.body.count("rule infrastructure-down") == SHOWN_ALERTS
    assert told.body.endswith(f"And {5000 - SHOWN_ALERTS} more: `central-hub alerts` lists all.")
    assert len(json.loads(told.payload)["alerts"]) == 5000


def test_a_test_says_that_it_is_one() -> None:
    told = for_test("n1", "on-call", "hub-7", by="anna", at=SINCE)
    assert (told.event, told.severity) == (Event.TEST, Severity.INFO)
    assert told.title == "Test, info: on-call: anna tries the channel on-call"
    assert "nothing is amiss" in told.body
