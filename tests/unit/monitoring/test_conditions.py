"""What is known, as conditions."""

from datetime import timedelta

from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.conditions import (
    HUB,
    ConfigState,
    ServiceState,
    of_audit,
    of_configs,
    of_infrastructure,
    of_replica,
    of_services,
)
from central_hub.monitoring.infrastructure import Component, Section
from central_hub.storage.target_values import Target
from central_hub_client.wire import HealthState
from tests.unit.monitoring.looks import NOON, at


def target(name: str, state: HealthState, reason: str | None = "connection refused") -> Target:
    return Target(name, state, at(3), 0, (), reason, None, NOON, "key-1")


def test_components_that_are_not_well_are_amiss_with_their_labels_and_those_of_no_file_are_not() -> None:
    labels = {"team": "platform"}
    components = {
        name: Component(name, Section.DATABASES, "postgresql", {}, None, labels=labels) for name in HealthState
    }
    targets = [target(state, state) for state in HealthState] + [target("forgotten", HealthState.UNHEALTHY)]
    found = list(of_infrastructure(targets, components))
    assert [(each.subject, each.state) for each in found] == [
        (state, state) for state in ("degraded", "unhealthy", "expired")
    ]
    assert found[0] == Condition(
        ConditionKind.INFRASTRUCTURE, "degraded", at(3), "connection refused", state="degraded", labels=labels
    )
    [nameless] = of_infrastructure([target("expired", HealthState.EXPIRED, reason=None)], components)
    assert nameless.reason == "no reason is known"


def test_services_that_are_not_well_are_amiss_in_their_environment() -> None:
    states = [ServiceState("billing", "staging", state, "why", at(1)) for state in HealthState]
    assert [(each.subject, each.environment, each.state) for each in of_services(states)] == [
        ("billing", "staging", state) for state in ("degraded", "unhealthy", "expired")
    ]


def test_a_revision_may_be_refused_by_some_and_not_have_reached_others() -> None:
    state = ConfigState("billing", "default", "1.7", 5, 2, "n is too small", at(1), 1, at(2))
    assert [(each.kind, each.reason, each.since) for each in of_configs([state])] == [
        (ConditionKind.CONFIG_REJECTED, "2 of 5 instances refuse revision 1.7: n is too small", at(1)),
        (ConditionKind.CONFIG_NOT_CONVERGED, "1 of 5 instances do not run revision 1.7", at(2)),
    ]
    assert list(of_configs([ConfigState("billing", "default", "1.7", 5)])) == []


def test_an_audit_log_that_does_not_verify_says_what_is_wrong_first() -> None:
    assert list(of_audit(0, "", NOON)) == []
    assert [each.reason for flaws in (1, 3) for each in of_audit(flaws, "revision 2 was edited", NOON)] == [
        "revision 2 was edited",
        "revision 2 was edited; and 2 more",
    ]
    assert [each.subject for each in of_audit(1, "x", NOON)] == [HUB]


def test_what_a_replica_tells_of_itself_names_it() -> None:
    since = NOON - timedelta(seconds=47)
    found = list(of_replica("key-1", lagging_since=since, fenced="it was restored", now=NOON))
    assert [(each.kind, each.subject, each.replica) for each in found] == [
        (ConditionKind.REPLICA_LAGGING, "key-1", "key-1"),
        (ConditionKind.REPLICA_FENCED, "key-1", "key-1"),
    ]
    assert found[0].reason == "it was last at the end of the log 40 seconds ago or longer"
    assert list(of_replica("key-1", lagging_since=None, fenced=None, now=NOON)) == []
