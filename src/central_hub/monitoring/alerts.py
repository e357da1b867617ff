"""What becomes of alerts at one look: which begin, fire and end, and of which somebody is told. Pure.

    condition seen ─→ pending ── has lasted `for_seconds` ──→ firing ── absent for `HOLD` ──→ resolved
                         │ gone: no trace                       ↑                                │
                         └                                      └─── within `cooldown_seconds` ──┘ the same alert again

An alert fires whether or not somebody is told. It is told once while it fires, as soon as nothing keeps it: a silence,
maintenance, an acknowledgement, the cooldown, or a component that is down and whose own alert speaks for it. Its end is
told where its beginning was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from central_hub.monitoring.condition import Condition, ConditionKind
from central_hub.monitoring.mutes import Mutes
from central_hub.monitoring.rules import Rule
from central_hub.monitoring.wording import summary_of
from central_hub.storage.alert_values import Affected, Alert, AlertState

HOLD: Final = timedelta(seconds=5)
"""For so long a condition must be absent until its alert is resolved: two looks that disagree are no end."""

Subject = tuple[str, str, str]
"""The kind of a condition, its subject and its environment."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at one look.

    `causes` names, for whoever is unwell because of components, the components to blame. Of the kinds in `unknown`
    nothing is known now: their alerts stay as they are. `reach` names, for each component that is down, who cannot work
    without it, also before that shows.
    """

    conditions: tuple[Condition, ...] = ()
    causes: Mapping[Subject, frozenset[str]] = field(default_factory=dict)
    unknown: frozenset[ConditionKind] = frozenset()
    reach: Mapping[str, tuple[Affected, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to store: alerts that are new or changed, and the ids of those that leave no trace.

    `transitions` are those of the changed that came into another state. `told` has, for each channel, the alerts to
    tell of in one notification; each is among the changed ones, and its state says what.
    """

    changed: tuple[Alert, ...] = ()
    transitions: tuple[Alert, ...] = ()
    dropped: tuple[str, ...] = ()
    told: Mapping[str, tuple[Alert, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.changed or self.dropped)


def decide(alerts: Iterable[Alert], seen: Seen, rules: Mapping[str, Rule], mutes: Mutes, now: datetime) -> Decision:
    """Take one look. `alerts` are those that are not resolved, and those whose cooldown may still run; of several that
    were the same the last counts."""
    open_: dict[str, Alert] = {}
    ended: dict[str, Alert] = {}
    for alert in alerts:
        (ended if alert.state is AlertState.RESOLVED else open_)[alert.fingerprint] = alert
    matched = _matched(seen.conditions, rules)
    after = {
        fingerprint: _present(open_.get(fingerprint), ended.get(fingerprint), fingerprint, rule, condition, now)
        for fingerprint, (rule, condition) in matched.items()
    }
    for fingerprint, alert in open_.items():
        if fingerprint not in matched:
            left = alert if alert.kind in seen.unknown else _absent(alert, now)
            if left is not None:
                after[fingerprint] = left
    if ConditionKind.INFRASTRUCTURE not in seen.unknown:
        _blame(after, seen, now)
    for fingerprint, (rule, condition) in matched.items():
        alert = after[fingerprint]
        after[fingerprint] = _with(alert, summary=summary_of(rule, alert, condition.state))
    told: dict[str, list[Alert]] = {}
    for fingerprint, alert in after.items():
        if _is_worth_telling(alert, matched.get(fingerprint), mutes, now):
            after[fingerprint] = alert = replace(alert, is_told=True, notified_at=now)
            for channel in alert.notify:
                told.setdefault(channel, []).append(alert)
    before = {alert.id: alert for alert in (*open_.values(), *ended.values())}
    left_ids = {alert.id for alert in after.values()}
    changed = {
        alert.id: replace(alert, change=alert.change + 1) for alert in after.values() if before.get(alert.id) != alert
    }
    return Decision(
        changed=tuple(changed.values()),
        transitions=tuple(
            alert for alert in changed.values() if alert.id not in before or before[alert.id].state is not alert.state
        ),
        dropped=tuple(alert.id for alert in open_.values() if alert.id not in left_ids),
        told={channel: tuple(changed[alert.id] for alert in listed) for channel, listed in told.items()},
    )


@lru_cache(maxsize=65_536)
def fingerprint_of(rule: str, kind: str, subject: str, environment: str) -> str:
    """What makes two alerts the same one."""
    return blake2b("\0".join((rule, kind, subject, environment)).encode(), digest_size=16).hexdigest()


def _matched(conditions: Iterable[Condition], rules: Mapping[str, Rule]) -> dict[str, tuple[Rule, Condition]]:
    by_kind: dict[ConditionKind, list[Rule]] = {}
    for rule in rules.values():
        if rule.is_enabled:
            by_kind.setdefault(rule.kind, []).append(rule)
    found: dict[str, tuple[Rule, Condition]] = {}
    for condition in conditions:
        for rule in by_kind.get(condition.kind, ()):
            if _fits(rule, condition):
                fingerprint = fingerprint_of(rule.name, condition.kind, condition.subject, condition.environment)
                earlier = found.get(fingerprint)
                if earlier is None or condition.since < earlier[1].since:
                    found[fingerprint] = (rule, condition)
    return found


def _fits(rule: Rule, condition: Condition) -> bool:
    return (
        (not rule.states or condition.state in rule.states)
        and (not rule.names or condition.subject in rule.names)
        and (not rule.environments or condition.environment in rule.environments)
        and all(condition.labels.get(name) == value for name, value in rule.only_labels.items())
    )


def _present(
    found: Alert | None, ended: Alert | None, fingerprint: str, rule: Rule, condition: Condition, now: datetime
) -> Alert:
    if found is None:
        found = _begun(fingerprint, rule, condition, now)
    if found.state is AlertState.FIRING:
        return _refreshed(_with(found, absent_since=None), rule, condition)
    # A moment that lies ahead was told by a clock that was set back since.
    found = _refreshed(_with(found, since=min(found.since, now)), rule, condition)
    if now - found.since < timedelta(seconds=rule.for_seconds):
        return found
    if ended is None or not _is_cooling_down(ended, rule, now):
        return replace(found, state=AlertState.FIRING, fired_at=now)
    # The same one comes back: it keeps its id and the time at which it was told.
    return replace(
        found,
        id=ended.id,
        state=AlertState.FIRING,
        fired_at=now,
        notified_at=ended.notified_at,
        change=ended.change,
    )


def _begun(fingerprint: str, rule: Rule, condition: Condition, now: datetime) -> Alert:
    return Alert(
        id=blake2b(f"{fingerprint} {now.isoformat()}".encode(), digest_size=8).hexdigest(),
        fingerprint=fingerprint,
        rule=rule.name,
        kind=condition.kind,
        subject=condition.subject,
        environment=condition.environment,
        severity=rule.severity,
        summary="",
        reason="",
        labels={},
        notify=(),
        state=AlertState.PENDING,
        since=min(condition.since, now),
        replica=condition.replica,
    )


def _refreshed(alert: Alert, rule: Rule, condition: Condition) -> Alert:
    return _with(
        alert,
        severity=rule.severity,
        reason=condition.reason,
        labels={**condition.labels, **rule.labels},
        notify=tuple(dict.fromkeys(rule.notify)),
    )


def _absent(alert: Alert, now: datetime) -> Alert | None:
    if alert.state is AlertState.PENDING:
        return None
    absent_since = min(alert.absent_since or now, now)
    if now - absent_since < HOLD:
        return _with(alert, absent_since=absent_since)
    return replace(alert, state=AlertState.RESOLVED, resolved_at=now, absent_since=None)


def _blame(after: dict[str, Alert], seen: Seen, now: datetime) -> None:
    """Say of each alert whose alerts speak for it, and of each of these who is affected."""
    # Whoever is silent about a component speaks for nobody.
    speaking = {
        alert.subject
        for alert in after.values()
        if alert.kind == ConditionKind.INFRASTRUCTURE and alert.state is not AlertState.RESOLVED and alert.notify
    }
    affected: dict[str, set[Affected]] = {}
    for fingerprint, alert in after.items():
        if alert.state is AlertState.RESOLVED:
            continue
        subject = (alert.kind, alert.subject, alert.environment)
        caused_by = seen.causes.get(subject, frozenset()) & speaking
        if alert.kind == ConditionKind.INFRASTRUCTURE:
            caused_by -= {alert.subject}
        for cause in caused_by:
            affected.setdefault(cause, set()).add(Affected(*subject))
        if caused_by:
            after[fingerprint] = _with(alert, caused_by=tuple(sorted(caused_by)), freed_at=None)
        elif alert.caused_by:
            after[fingerprint] = replace(alert, caused_by=(), freed_at=now)
    for fingerprint, alert in after.items():
        # Once it is absent, it is told as it was: who was hit by it.
        if alert.kind == ConditionKind.INFRASTRUCTURE and alert.absent_since is None and alert.resolved_at is None:
            unwell = affected.get(alert.subject, set())
            shown = {(each.kind, each.subject) for each in unwell}
            reached = {each for each in seen.reach.get(alert.subject, ()) if (each.kind, each.subject) not in shown}
            after[fingerprint] = _with(alert, affected=tuple(sorted(unwell | reached)))


def _is_worth_telling(alert: Alert, matched: tuple[Rule, Condition] | None, mutes: Mutes, now: datetime) -> bool:
    if alert.state is AlertState.RESOLVED:
        return alert.is_told
    if alert.state is AlertState.PENDING or alert.is_told or alert.caused_by or matched is None:
        return False
    rule = matched[0]
    return (
        alert.acknowledged_at is None
        and not (
            alert.freed_at is not None and timedelta(0) <= now - alert.freed_at < timedelta(seconds=rule.for_seconds)
        )
        and not _is_cooling_down(alert, rule, now)
        and not mutes.fit(alert)
    )


def _is_cooling_down(alert: Alert, rule: Rule, now: datetime) -> bool:
    """Whether it was told too recently. What lies ahead was told by a clock that was set back since."""
    return alert.notified_at is not None and timedelta(0) <= now - alert.notified_at < timedelta(
        seconds=rule.cooldown_seconds
    )


def _with(alert: Alert, **fields: Any) -> Alert:
    """The alert with these fields; the same object where it has them, as at most looks."""
    return alert if all(getattr(alert, name) == value for name, value in fields.items()) else replace(alert, **fields)
