"""Alerts at one look after another."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.monitoring.alerts import HOLD, fingerprint_of
from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.infrastructure import Maintenance
from central_hub.monitoring.rules import Severity
from central_hub.storage.alert_values import Affected, AlertState
from tests.unit.monitoring.looks import Looks, at, component, rule, seconds, service, silence, subject_of

HELD = HOLD.total_seconds()
DOWN = component()
SERVICE_RULE = rule("service", ConditionKind.SERVICE, for_seconds=60)


def firing(*subjects: str) -> list[tuple[str, str]]:
    return [(subject, "firing") for subject in sorted(subjects)]


def resolved(*subjects: str) -> list[tuple[str, str]]:
    return [(subject, "resolved") for subject in sorted(subjects)]


def test_a_condition_that_lasts_fires_is_told_once_and_resolved_once() -> None:
    looks = Looks.by(rule(for_seconds=10))
    looks.every_second(0, 30, DOWN)
    looks.every_second(30, 60)
    assert looks.transitions == [
        (0, "postgresql", "pending"),
        (10, "postgresql", "firing"),
        (30 + HELD, "postgresql", "resolved"),
    ]
    assert looks.told == [(10, "log", firing("postgresql")), (30 + HELD, "log", resolved("postgresql"))]


def test_a_condition_that_goes_away_while_pending_leaves_no_trace() -> None:
    looks = Looks.by(rule(for_seconds=10))
    looks.every_second(0, 10, DOWN)
    looks.look(10)
    assert looks.alerts == {}
    assert looks.told == []
    # And its time begins anew.
    looks.every_second(11, 21, component(since=11))
    assert looks.only.state is AlertState.PENDING


def test_a_condition_that_began_before_anybody_looked_has_lasted_since() -> None:
    looks = Looks.by(rule(for_seconds=60))
    looks.look(100, component(since=30))
    assert looks.only.state is AlertState.FIRING
    assert seconds(looks.only.since) == 30


def test_two_looks_that_disagree_are_no_end() -> None:
    looks = Looks.by(rule())
    for when in range(60):
        looks.look(when, *([DOWN] if when % 4 == 0 else []))
    assert looks.told == [(0, "log", firing("postgresql"))]
    assert looks.only.state is AlertState.FIRING


def test_the_same_alert_within_its_cooldown_is_reopened_and_told_when_that_ends() -> None:
    looks = Looks.by(rule(cooldown_seconds=100))
    looks.every_second(0, 10, DOWN)
    looks.every_second(10, 20)
    first = looks.only
    assert first.state is AlertState.RESOLVED
    looks.every_second(20, 200, component(since=20))
    # 15 s: the end was told.
    assert looks.told == [
        (0, "log", firing("postgresql")),
        (15, "log", resolved("postgresql")),
        (115, "log", firing("postgresql")),
    ]
    assert looks.only.id == first.id
    assert seconds(looks.only.fired_at) == 20


def test_one_that_comes_and_goes_within_its_cooldown_is_told_of_no_more() -> None:
    looks = Looks.by(rule(cooldown_seconds=1_000))
    for turn in range(20):
        looks.every_second(turn * 40, turn * 40 + 20, DOWN)
        looks.every_second(turn * 40 + 20, turn * 40 + 40)
    assert [told for _, _, told in looks.told] == [firing("postgresql"), resolved("postgresql")]
    assert looks.only.state is AlertState.RESOLVED


def test_after_its_cooldown_it_is_another_alert() -> None:
    looks = Looks.by(rule(cooldown_seconds=30))
    looks.every_second(0, 10, DOWN)
    looks.every_second(10, 60)
    looks.look(60, DOWN)
    assert len(looks.alerts) == 2
    assert len(looks.told) == 3


def test_what_becomes_due_at_one_look_is_told_a_channel_in_one_notification() -> None:
    looks = Looks.by(rule(notify=("log", "chat")), rule("other", names=frozenset({"nats"}), notify=("chat",)))
    looks.look(0, component("nats"), component("kafka"))
    assert looks.told == [(0, "log", firing("nats", "kafka")), (0, "chat", firing("nats", "nats", "kafka"))]


def test_an_end_is_told_only_where_the_beginning_was() -> None:
    looks = Looks.by(rule())
    looks.silences = (silence(100),)
    looks.every_second(0, 10, DOWN)
    looks.every_second(10, 30)
    assert looks.told == []
    assert looks.only.state is AlertState.RESOLVED


@pytest.mark.parametrize(
    ("matchers", "fits"),
    [
        ({}, True),
        ({"rule": "service"}, True),
        ({"rule": "other"}, False),
        ({"subject": "billing"}, True),
        ({"subject": "orders"}, False),
        ({"environment": "default"}, True),
        ({"environment": "staging"}, False),
        ({"rule": "service", "subject": "billing", "environment": "default"}, True),
    ],
)
def test_a_silence_holds_for_what_it_fits(matchers: dict[str, str], fits: bool) -> None:
    looks = Looks.by(rule("service", ConditionKind.SERVICE))
    looks.silences = (silence(50, **matchers),)
    looks.every_second(0, 60, service())
    assert looks.told == [(50 if fits else 0, "log", firing("billing"))]
    assert looks.only.state is AlertState.FIRING


def test_a_silence_that_somebody_ends_holds_no_more() -> None:
    looks = Looks.by(rule())
    looks.silences = (replace(silence(50), ended_at=at(3)),)
    looks.look(5, DOWN)
    assert looks.told == [(5, "log", firing("postgresql"))]


def test_maintenance_holds_for_its_targets_and_what_still_fires_is_told_after_it() -> None:
    looks = Looks.by(rule())
    looks.maintenance = (Maintenance(frozenset({"postgresql"}), at(10), at(40), "new disks"),)
    looks.every_second(15, 60, DOWN, component("nats"))
    assert looks.told == [(15, "log", firing("nats")), (40, "log", firing("postgresql"))]


def test_maintenance_without_targets_holds_for_all_components_and_for_no_service() -> None:
    looks = Looks.by(rule(), rule("service", ConditionKind.SERVICE))
    looks.maintenance = (Maintenance(frozenset(), at(0), at(40), "move"),)
    looks.look(0, DOWN, service())
    assert looks.told == [(0, "log", firing("billing"))]


def test_who_is_acknowledged_is_not_told_again_until_it_is_resolved() -> None:
    looks = Looks.by(rule(cooldown_seconds=30))
    looks.silences = (silence(20),)
    looks.every_second(0, 10, DOWN)
    looks.alerts = {key: replace(alert, acknowledged_at=at(10)) for key, alert in looks.alerts.items()}
    looks.every_second(10, 60, DOWN)
    assert looks.told == []
    looks.every_second(60, 70)
    looks.look(70, DOWN)
    assert looks.told == [(70, "log", firing("postgresql"))]


def test_an_acknowledgement_ends_with_the_alert_that_it_was_for() -> None:
    looks = Looks.by(rule(cooldown_seconds=60))
    looks.look(0, DOWN)
    looks.alerts = {key: replace(alert, acknowledged_at=at(1)) for key, alert in looks.alerts.items()}
    looks.every_second(1, 10)
    looks.every_second(10, 100, DOWN)
    assert looks.only.acknowledged_at is None
    assert [when for when, _, _ in looks.told] == [0, 6, 66]


def test_one_alert_speaks_for_a_component_and_all_that_hang_on_it() -> None:
    looks = Looks.by(rule(for_seconds=5), SERVICE_RULE)
    hit = [service(f"service-{number:02}") for number in range(12)]
    causes = {subject_of(condition): frozenset({"postgresql"}) for condition in hit}
    looks.every_second(0, 200, DOWN, *hit, causes=causes)
    assert looks.told == [(5, "log", firing("postgresql"))]
    told = next(alert for alert in looks.open if alert.subject == "postgresql")
    assert told.affected == tuple(Affected("service", f"service-{number:02}", "default") for number in range(12))
    assert {alert.caused_by for alert in looks.open if alert.kind == "service"} == {("postgresql",)}
    assert [alert.state for alert in looks.open] == ["firing"] * 13


def test_who_cannot_work_without_a_component_is_named_also_before_that_shows() -> None:
    looks = Looks.by(rule(), SERVICE_RULE)
    reach = {"postgresql": tuple(Affected("service", name, "") for name in ("billing", "orders"))}
    causes = {subject_of(service("orders")): frozenset({"postgresql"})}
    looks.every_second(0, 10, DOWN, reach=reach)
    assert list(map(str, looks.only.affected)) == ["billing", "orders"]
    looks.every_second(10, 20, DOWN, service("orders"), causes=causes, reach=reach)
    [down] = [alert for alert in looks.open if alert.subject == "postgresql"]
    assert list(map(str, down.affected)) == ["billing", "orders in default"]
    # Its end is told with those whom it hit, though nothing is down any more.
    looks.every_second(20, 30)
    [ended] = [alert for alert in looks.alerts.values() if alert.subject == "postgresql"]
    assert (ended.state, len(ended.affected)) == ("resolved", 2)


def test_who_is_still_unwell_after_the_cause_is_gone_is_told_by_himself() -> None:
    looks = Looks.by(rule(), SERVICE_RULE)
    causes = {subject_of(service()): frozenset({"postgresql"})}
    looks.every_second(0, 100, DOWN, service(), causes=causes)
    looks.every_second(100, 200, service())
    assert looks.told == [
        (0, "log", firing("postgresql")),
        (100 + HELD, "log", resolved("postgresql")),
        (160, "log", firing("billing")),
    ]


def test_who_recovers_with_the_cause_is_never_told() -> None:
    looks = Looks.by(rule(), SERVICE_RULE)
    causes = {subject_of(service()): frozenset({"postgresql"})}
    looks.every_second(0, 100, DOWN, service(), causes=causes)
    looks.every_second(100, 150, service())
    looks.every_second(150, 200)
    assert [told for _, _, told in looks.told] == [firing("postgresql"), resolved("postgresql")]


def test_a_component_that_nobody_is_told_of_speaks_for_nobody() -> None:
    causes = {subject_of(service()): frozenset({"postgresql"})}
    for rules in ([rule(notify=())], [rule(is_enabled=False)], []):
        looks = Looks.by(*rules, SERVICE_RULE)
        looks.every_second(0, 70, DOWN, service(), causes=causes)
        assert looks.told == [(60, "log", firing("billing"))]


def test_a_component_speaks_for_a_component_but_never_for_itself() -> None:
    looks = Looks.by(rule())
    causes = {
        subject_of(component("feature-store")): frozenset({"clickhouse"}),
        subject_of(component("clickhouse")): frozenset({"clickhouse"}),
    }
    looks.look(0, component("clickhouse"), component("feature-store"), causes=causes)
    assert looks.told == [(0, "log", firing("clickhouse"))]


def test_a_service_may_have_the_name_of_the_component_that_is_to_blame() -> None:
    looks = Looks.by(rule(), rule("service", ConditionKind.SERVICE))
    causes = {subject_of(service("nats")): frozenset({"nats"})}
    looks.look(0, component("nats"), service("nats"), causes=causes)
    assert looks.told == [(0, "log", firing("nats"))]


def test_of_what_nothing_is_known_the_alerts_stay_as_they_are() -> None:
    looks = Looks.by(rule(), rule("service", ConditionKind.SERVICE, for_seconds=20))
    causes = {subject_of(service()): frozenset({"postgresql"})}
    looks.every_second(0, 10, DOWN, service(), causes=causes)
    before = dict(looks.alerts)
    looks.every_second(10, 100, unknown=[ConditionKind.INFRASTRUCTURE, ConditionKind.SERVICE])
    assert looks.alerts == before
    looks.look(100, service(), unknown=[ConditionKind.INFRASTRUCTURE])
    assert [alert.caused_by for alert in looks.open if alert.kind == "service"] == [("postgresql",)]


def test_a_rule_takes_only_what_it_is_for() -> None:
    labelled = replace(component("nats", state="degraded"), labels={"team": "platform"})
    staging = service(environment="staging")
    for chosen, fits in [
        (rule(states=frozenset({"degraded"})), True),
        (rule(states=frozenset({"unhealthy"})), False),
        (rule(names=frozenset({"nats"})), True),
        (rule(names=frozenset({"kafka"})), False),
        (rule(only_labels={"team": "platform"}), True),
        (rule(only_labels={"team": "trading"}), False),
        (rule(is_enabled=False), False),
        (rule(kind=ConditionKind.SERVICE, environments=frozenset({"staging"})), True),
        (rule(kind=ConditionKind.SERVICE, environments=frozenset({"default"})), False),
    ]:
        looks = Looks.by(chosen)
        looks.look(0, labelled, staging)
        assert len(looks.alerts) == fits, chosen


def test_an_alert_says_what_its_rule_says_of_the_condition() -> None:
    summary = "{subject} ({environment}) is {state} since {since}: {reason}; {severity} by {rule}; {affected}"
    looks = Looks.by(
        rule("service", ConditionKind.SERVICE, summary=summary, labels={"team": "b"}, severity=Severity.WARNING)
    )
    looks.look(3, replace(service(), labels={"team": "a", "tier": "1"}))
    assert looks.only.summary == (
        "billing (default) is unhealthy since 2026-11-29T12:00:00.000Z: none can be called; warning by service; "
    )
    assert looks.only.labels == {"team": "b", "tier": "1"}
    assert looks.only.severity == "warning"


def test_an_alert_whose_rule_is_gone_ends() -> None:
    looks = Looks.by(rule())
    looks.look(0, DOWN)
    looks.rules = {}
    looks.every_second(1, 10, DOWN)
    assert looks.only.state is AlertState.RESOLVED


def test_a_clock_that_is_set_back_keeps_nothing_waiting() -> None:
    looks = Looks.by(rule(for_seconds=10))
    day = 86_400
    looks.every_second(day, day + 5, component(since=day))
    looks.every_second(0, 20, component(since=day))
    assert looks.told == [(10, "log", firing("postgresql"))]
    looks.every_second(day, day + 5)
    looks.every_second(100, 110)
    assert looks.only.state is AlertState.RESOLVED
    looks.every_second(-day, -day + 30, component(since=-day))
    assert looks.told[-1] == (-day + 10, "log", firing("postgresql"))


def test_who_decides_the_same_at_the_same_moment_names_it_the_same() -> None:
    first, second = Looks.by(rule()), Looks.by(rule())
    assert first.look(7, DOWN) == second.look(7, DOWN)


def test_a_look_that_finds_nothing_new_changes_nothing() -> None:
    looks = Looks.by(rule(), SERVICE_RULE)
    causes = {subject_of(service()): frozenset({"postgresql"})}
    looks.every_second(0, 100, DOWN, service(), causes=causes)
    assert looks.look(100, DOWN, service(), causes=causes).is_empty


NAMES = ("a", "b")
MOMENTS = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.sets(st.sampled_from([*(("c", name) for name in NAMES), *(("s", name) for name in NAMES)])),
        st.booleans(),
    ),
    max_size=40,
)


@given(
    moments=MOMENTS,
    for_seconds=st.sampled_from([0, 5, 30]),
    cooldown=st.sampled_from([0, 20, 300]),
    silenced=st.integers(0, 200),
)
def test_whatever_happens_one_alert_a_fingerprint_is_open_and_told_once_until_it_ends(
    moments: list[tuple[int, set[tuple[str, str]], bool]], for_seconds: int, cooldown: int, silenced: int
) -> None:
    looks = Looks.by(
        rule(for_seconds=for_seconds, cooldown_seconds=cooldown),
        rule("service", ConditionKind.SERVICE, for_seconds=for_seconds, cooldown_seconds=cooldown),
    )
    looks.silences = (silence(silenced, subject="a"),)
    when = 0
    begins: list[tuple[str, str, float]] = []
    is_told: dict[str, bool] = {}
    for wait, unwell, blames in moments:
        when += wait
        conditions = [component(name, when) if kind == "c" else service(name, when) for kind, name in sorted(unwell)]
        causes = {subject_of(service(name)): frozenset({name}) for name in NAMES} if blames else {}
        decision = looks.look(when, *conditions, causes=causes)
        open_ = [alert.fingerprint for alert in looks.open]
        assert len(set(open_)) == len(open_)
        for alert in looks.open:
            assert (alert.state is AlertState.FIRING) == (alert.fired_at is not None)
            assert not (alert.state is AlertState.PENDING and alert.is_told)
        told = [alert for alerts in decision.told.values() for alert in alerts]
        assert len({alert.id for alert in told}) == len(told)
        for alert in told:
            # Beginning and end take turns, and nobody is told of what a component's alert speaks for.
            assert is_told.get(alert.fingerprint, False) == (alert.state is AlertState.RESOLVED)
            is_told[alert.fingerprint] = alert.state is AlertState.FIRING
            if alert.state is AlertState.FIRING:
                assert not alert.caused_by
                assert alert.subject != "a" or when >= silenced
                begins.append((alert.fingerprint, alert.subject, when))
    by_fingerprint: dict[str, list[float]] = {}
    for fingerprint, _, moment in begins:
        by_fingerprint.setdefault(fingerprint, []).append(moment)
    for moments_told in by_fingerprint.values():
        assert all(later - earlier >= cooldown for earlier, later in pairwise(moments_told))


def test_a_fingerprint_is_of_rule_kind_subject_and_environment() -> None:
    parts = ("rule", "service", "billing", "default")
    changed = [tuple("x" if index == place else part for index, part in enumerate(parts)) for place in range(4)]
    assert len({fingerprint_of(*each) for each in (parts, *changed, ("rule", "service", "billingdefault", ""))}) == 6


def test_of_two_conditions_of_the_same_the_one_that_began_first_counts() -> None:
    later, earlier = component(since=5, state="degraded"), component(since=1)
    looks = Looks.by(rule())
    looks.look(10, later, earlier)
    assert seconds(looks.only.since) == 1


def test_a_condition_that_only_a_replica_can_tell_names_it() -> None:
    looks = Looks.by(rule(kind=ConditionKind.REPLICA_FENCED))
    looks.look(0, Condition(ConditionKind.REPLICA_FENCED, "key-1", at(0), "behind", replica="key-1"))
    assert looks.only.replica == "key-1"
