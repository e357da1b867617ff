"""What one look has to tell, as messages that channels can take."""

import json
from dataclasses import replace

from central_hub.monitoring.notification import SHOWN_AFFECTED
from central_hub.monitoring.telling import LARGEST_BYTES, notifications_of
from central_hub.monitoring.wording import LONGEST_SUMMARY
from central_hub.storage.alert_values import Affected
from central_hub_client.wire import MAX_PUSHED_BYTES
from tests.unit.monitoring.looks import Looks, component, rule, service
from tests.unit.monitoring.test_alerts import SERVICE_RULE


def test_a_storm_is_told_in_as_few_messages_as_can_hold_it_and_nobody_is_left_out() -> None:
    looks = Looks.by(SERVICE_RULE)
    storm = [service(f"service-{number}") for number in range(5000)]
    looks.look(0, *storm)
    decision = looks.look(60, *storm)
    made = notifications_of(decision.told, "hub-7")
    assert made == notifications_of(decision.told, "hub-7")
    sizes = [len(notification.payload.encode()) for notification in made]
    assert max(sizes) < MAX_PUSHED_BYTES
    assert len(made) <= sum(sizes) // LARGEST_BYTES + 1
    assert len({notification.id for notification in made}) == len(made)
    subjects = [alert["subject"] for each in made for alert in json.loads(each.payload)["alerts"]]
    assert sorted(subjects) == sorted(each.subject for each in storm)


def test_a_severity_of_another_version_keeps_nobody_from_being_told() -> None:
    looks = Looks.by(rule())
    looks.look(0, component(), component("nats"))
    alerts = list(looks.alerts.values())
    [made] = notifications_of({"log": [replace(alerts[0], severity="page"), alerts[1]]}, "hub-7")
    assert [alert["severity"] for alert in json.loads(made.payload)["alerts"]] == ["critical", "critical"]


def test_a_sentence_does_not_grow_with_whom_it_hits() -> None:
    looks = Looks.by(rule(summary="{affected} " * 90))
    hit = tuple(Affected("service", f"{number:05}", "") for number in range(5000))
    looks.look(0, component(), reach={"postgresql": hit})
    assert len(looks.only.summary) <= LONGEST_SUMMARY
    named = ", ".join(f"{number:05}" for number in range(SHOWN_AFFECTED))
    assert looks.only.summary.startswith(f"{named} and {5000 - SHOWN_AFFECTED} more {named}")
    assert len(looks.only.affected) == 5000
