"""What the probes of a target come to: thresholds, flapping, lasting outages, and clocks that are set."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from central_hub.connections.health_probe import Probed
from central_hub.monitoring.health import (
    FLAP_WINDOW,
    FLAPS_AT,
    OUTLASTS,
    as_counted,
    counts_for,
    observe,
    unprobed,
)
from central_hub.monitoring.infrastructure import ProbeSettings
from central_hub.storage.target_values import Target, Transition
from central_hub_client.wire import HealthState

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SETTINGS = ProbeSettings("tcp", interval_seconds=10, failures=3, successes=2)
INTERVAL = timedelta(seconds=SETTINGS.interval_seconds)
RESULTS = {"+": Probed(True, None, 1.5), "-": Probed(False, "refused", None), "?": Probed(None, "no credential")}
STEADY = int(FLAP_WINDOW / 2 / INTERVAL)

thresholds = st.builds(ProbeSettings, st.just("tcp"), failures=st.integers(1, 5), successes=st.integers(1, 5))
results = st.text("+-", max_size=60)


class Watched:
    """A target that is probed every ten seconds."""

    def __init__(self, settings: ProbeSettings = SETTINGS) -> None:
        self.settings = settings
        self.now = NOW
        self.target = unprobed("db", NOW)
        self.states: list[HealthState] = []
        self.transitions: list[Transition] = []

    def see(self, results: Iterable[str]) -> "Watched":
        for result in results:
            self.now += INTERVAL
            self.target, transition = observe(self.target, RESULTS[result], self.settings, self.now)
            self.states.append(self.target.state)
            if transition is not None:
                self.transitions.append(transition)
        return self

    def set_clock(self, by: timedelta) -> "Watched":
        self.now += by
        return self


def states(results: str) -> str:
    return " ".join(Watched().see(results).states)


def test_three_failures_in_a_row_are_an_outage_and_two_successes_end_it() -> None:
    assert states("+---+-++") == ("healthy degraded degraded unhealthy unhealthy unhealthy unhealthy healthy")
    assert states("-+") == "degraded healthy"
    assert states("---") == "degraded degraded unhealthy"


def test_a_result_is_told_as_it_was() -> None:
    seen = Watched().see("+-")
    assert (seen.target.reason, seen.target.latency_ms, seen.target.probed_at) == ("refused", None, seen.now)
    assert seen.transitions[-1] == Transition("db", seen.now, HealthState.HEALTHY, HealthState.DEGRADED, "refused")
    seen.see("--+")
    assert seen.target.reason == "it answers again, 1 of 2 times in a row"
    seen.see("+")
    assert (seen.target.reason, seen.target.latency_ms) == (None, 1.5)


def test_where_nothing_is_measured_nothing_changes_but_what_is_said() -> None:
    seen = Watched().see("+--")
    before = seen.target
    seen.see("?")
    assert seen.target.reason == "not measured: no credential"
    assert seen.transitions[-1].to_state is HealthState.DEGRADED
    same = Target(**{field: getattr(before, field) for field in Target.__slots__} | {"reason": seen.target.reason})
    assert seen.target == same
    assert seen.see("-").target.state is HealthState.UNHEALTHY


def test_what_comes_and_goes_is_degraded_once_until_it_has_been_steady() -> None:
    seen = Watched().see("+" + "---++" * 3)
    assert seen.target.state is HealthState.DEGRADED
    assert seen.target.reason is not None
    assert seen.target.reason.startswith("flapping: it turned 6 times within 2.")
    told = len(seen.transitions)
    seen.see("--+" * 20)
    assert len(seen.transitions) == told
    assert seen.target.reason.startswith("flapping")
    seen.see("+" * (STEADY - 1))
    assert seen.target.state is HealthState.DEGRADED
    seen.see("+")
    assert (seen.target.state, seen.target.reason) == (HealthState.HEALTHY, None)


def test_a_target_that_answers_every_other_time_is_not_well() -> None:
    seen = Watched().see("+-" * 500)
    assert seen.target.state is HealthState.DEGRADED
    assert len(seen.transitions) <= FLAPS_AT + 1


def test_an_outage_that_lasts_is_one_also_of_what_flaps() -> None:
    seen = Watched().see("+" + "-+" * 5)
    assert seen.target.state is HealthState.DEGRADED
    seen.see("-" * (OUTLASTS * SETTINGS.failures - 1))
    assert seen.target.state is HealthState.DEGRADED
    seen.see("-")
    assert seen.target.state is HealthState.UNHEALTHY
    seen.see("++")
    assert seen.target.state is HealthState.DEGRADED


def test_now_and_then_a_failure_is_no_flapping() -> None:
    seen = Watched().see("+" * 30)
    for _ in range(10):
        seen.see("-" + "+" * 29)
    assert seen.target.state is HealthState.HEALTHY
    assert len(seen.target.turns) < FLAPS_AT


def test_the_window_grows_with_the_interval() -> None:
    settings = ProbeSettings("tcp", interval_seconds=300)
    target = unprobed("db", NOW)
    for number, result in enumerate("+-+-+-+-"):
        target, _ = observe(target, RESULTS[result], settings, NOW + number * timedelta(seconds=300))
    assert (target.reason or "").startswith("flapping")


@given(results, thresholds)
def test_an_outage_is_never_told_before_enough_failures_in_a_row(told: str, settings: ProbeSettings) -> None:
    seen = Watched(settings)
    for number, result in enumerate(told, 1):
        before = seen.target.state
        seen.see(result)
        if seen.target.state is HealthState.UNHEALTHY and before is not HealthState.UNHEALTHY:
            assert told[:number].endswith("-" * settings.failures)
        if before is HealthState.UNHEALTHY and seen.target.state is not HealthState.UNHEALTHY:
            assert told[:number].endswith("+" * settings.successes)


@given(results, thresholds)
def test_whatever_was_before_a_lasting_outage_is_told_and_a_lasting_recovery_ends_it(
    told: str, settings: ProbeSettings
) -> None:
    seen = Watched(settings).see(told).see("-" * OUTLASTS * settings.failures)
    assert seen.target.state is HealthState.UNHEALTHY
    seen.see("+" * (STEADY + settings.successes))
    assert seen.target.state is HealthState.HEALTHY


@given(results, thresholds)
def test_every_change_of_state_is_a_transition_and_nothing_else_is(told: str, settings: ProbeSettings) -> None:
    seen = Watched(settings).see(told)
    changes = [state for before, state in zip([None, *seen.states], seen.states, strict=False) if state is not before]
    assert [transition.to_state for transition in seen.transitions] == changes
    befores = [HealthState.STARTING, *changes][: len(changes)]
    assert [transition.from_state for transition in seen.transitions] == befores
    assert seen.target.since <= seen.now


@given(st.text("+-", min_size=200, max_size=400))
def test_however_a_target_comes_and_goes_it_is_not_told_all_the_time(told: str) -> None:
    """After it has begun to flap, each two changes have an outage that lasts between them, or a time without any."""
    seen = Watched().see(told)
    least = OUTLASTS * SETTINGS.failures
    assert len(seen.transitions) <= 2 * FLAPS_AT + 2 * len(told) // least


jumps = st.lists(st.tuples(st.text("+-", min_size=1, max_size=12), st.timedeltas(-timedelta(days=9), -INTERVAL)))


@given(jumps)
def test_a_clock_that_is_set_back_changes_no_state(told: list[tuple[str, timedelta]]) -> None:
    jumping, steady = Watched(), Watched()
    for some, by in told:
        jumping.see(some).set_clock(by)
        # The time between the last probe before and the first one after is not counted.
        steady.see(some).set_clock(-INTERVAL)
        assert jumping.states == steady.states
        assert len(jumping.target.turns) == len(steady.target.turns)
        assert jumping.target.since <= jumping.target.probed_at


@given(st.lists(st.tuples(st.text("+-", min_size=1, max_size=12), st.timedeltas(timedelta(minutes=2), timedelta(9)))))
def test_a_clock_that_leaps_ahead_counts_as_the_longest_pause_between_probes(
    told: list[tuple[str, timedelta]],
) -> None:
    jumping, steady = Watched(), Watched()
    for some, by in told:
        jumping.see(some).set_clock(by)
        steady.see(some).set_clock(counts_for(SETTINGS) - INTERVAL)
        assert jumping.states == steady.states
        assert len(jumping.target.turns) == len(steady.target.turns)


def test_a_result_counts_for_three_intervals_or_a_minute() -> None:
    target = Watched().see("+").target
    now = target.probed_at + timedelta(seconds=61)
    assert as_counted(target, SETTINGS, timedelta(seconds=59), now) == target
    expired = as_counted(target, SETTINGS, timedelta(seconds=61), now)
    assert (expired.state, expired.since) == (HealthState.EXPIRED, target.probed_at + timedelta(seconds=60))
    assert expired.reason == "nothing was measured after 2026-11-29 12:00:10 UTC"
    slow = ProbeSettings("tcp", interval_seconds=60)
    assert as_counted(target, slow, timedelta(seconds=179), now) == target
