"""What the probes of a target come to. Pure.

A target is `healthy` until a probe fails, `degraded` while it fails too seldom to count, `unhealthy` after as many
failures in a row as its settings ask for, and so until as many successes in a row.

Flapping is judged as Nagios does, by every result that differs from the one before, whether it counts as an outage by
then or not: a target that answers every other time never fails often enough in a row, and yet is not well. One that
turned `FLAPS_AT` times (three times down and up) within `FLAP_WINDOW`, or 20 intervals where these are longer, flaps:
it counts as `degraded` until it has not turned for half of that time, so that it is told once and not each time. An
outage that lasts is one all the same: `OUTLASTS` times as many failures in a row as usual are `unhealthy`.

`now` is the store's time, which may be set. What is counted from a target's last probe until now is no less than
nothing, and no more than the result counted for: a clock that was set back, or ahead, or a hub that was not there,
neither begins nor ends anything.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.infrastructure import ProbeSettings
from central_hub.storage.target_values import Target, Transition
from central_hub_client.wire import HealthState

FLAPS_AT: Final = 6
FLAP_WINDOW: Final = timedelta(minutes=10)
OUTLASTS: Final = 3
_WINDOW_INTERVALS: Final = 20
_LEAST_COUNTS_FOR: Final = timedelta(seconds=60)
_COUNTED_INTERVALS: Final = 3


def unprobed(name: str, now: datetime) -> Target:
    """A target of which nothing is known."""
    return Target(name, HealthState.STARTING, now, 0, (), None, None, now, "")


def observe(target: Target, probed: Probed, settings: ProbeSettings, now: datetime) -> tuple[Target, Transition | None]:
    """The target after one more result, and how its state changed by that.

    Where nothing could be measured nothing changes but the reason, which says so; if that goes on, it expires.
    """
    if probed.ok is None:
        return replace(target, reason=f"not measured: {probed.reason or 'no reason is known'}"), None
    turns = _turns(target, probed.ok, settings, now)
    flaps = len(turns) >= FLAPS_AT
    if target.state is HealthState.UNHEALTHY:
        against = target.against + 1 if probed.ok else 0
        is_unhealthy = against < settings.successes
    else:
        against = 0 if probed.ok else target.against + 1
        is_unhealthy = against >= settings.failures * (OUTLASTS if flaps else 1)
    if is_unhealthy:
        state = HealthState.UNHEALTHY
    else:
        is_failing = not probed.ok
        state = HealthState.DEGRADED if is_failing or flaps else HealthState.HEALTHY
    if (state is HealthState.UNHEALTHY) != (target.state is HealthState.UNHEALTHY):
        against = 0
    found = Target(
        name=target.name,
        state=state,
        since=min(target.since, now) if state is target.state else now,
        against=against,
        turns=turns,
        reason=_reason(state, probed, turns, f"{against} of {settings.successes}"),
        latency_ms=probed.latency_ms,
        probed_at=now,
        probed_by=target.probed_by,
        change=target.change,
    )
    if state is target.state:
        return found, None
    return found, Transition(target.name, now, target.state, state, found.reason)


def counts_for(settings: ProbeSettings) -> timedelta:
    """How long a result says something: whoever probes is stood in for before."""
    return max(_COUNTED_INTERVALS * timedelta(seconds=settings.interval_seconds), _LEAST_COUNTS_FOR)


def as_counted(target: Target, settings: ProbeSettings, age: timedelta, now: datetime) -> Target:
    """The target as it counts when its last result is of that age: `expired` where that says nothing any more."""
    left = counts_for(settings) - age
    if left > timedelta():
        return target
    last = f"; last: {target.reason}" if target.reason else ""
    reason = f"nothing was measured after {target.probed_at:%Y-%m-%d %H:%M:%S} UTC{last}"
    return replace(target, state=HealthState.EXPIRED, since=now + left, reason=reason)


def _turns(target: Target, ok: bool, settings: ProbeSettings, now: datetime) -> tuple[datetime, ...]:
    """When it turned, this time included. With `FLAPS_AT` of them it flaps, and stays so until it has been steady."""
    elapsed = now - target.probed_at
    uncounted = elapsed - min(max(elapsed, timedelta()), counts_for(settings))
    turns = tuple(turn + uncounted for turn in target.turns)
    window = max(FLAP_WINDOW, _WINDOW_INTERVALS * timedelta(seconds=settings.interval_seconds))
    if ok is not _passed_last(target) and target.state is not HealthState.STARTING:
        turns = (*turns, now)
    if turns and now - turns[-1] >= window / 2:
        return ()
    if len(target.turns) < FLAPS_AT:
        turns = tuple(turn for turn in turns if now - turn < window)
    return turns[-FLAPS_AT:]


def _passed_last(target: Target) -> bool:
    """Whether the last result was a success: what counts against a state is how often it was the other one."""
    return (target.against > 0) == (target.state is HealthState.UNHEALTHY)


def _reason(state: HealthState, probed: Probed, turns: tuple[datetime, ...], answered: str) -> str | None:
    failure = None if probed.ok else probed.reason or "it failed"
    if state is HealthState.UNHEALTHY:
        return failure or f"it answers again, {answered} times in a row"
    if len(turns) < FLAPS_AT:
        return failure
    within = (turns[-1] - turns[0]).total_seconds() / 60
    return f"flapping: it turned {len(turns)} times within {within:.1f} minutes" + (f"; {failure}" if failure else "")
