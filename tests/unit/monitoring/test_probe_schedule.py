"""Which targets a replica probes, and when."""

from hypothesis import given
from hypothesis import strategies as st

from central_hub.monitoring.infrastructure import Component, Infrastructure, ProbeSettings, Section
from central_hub.monitoring.schedule import LONGEST_FIRST_SECONDS, delay, first_delay, own, probed

seconds = st.floats(0.1, 3600)
draws = st.floats(0, 1)


def component(name: str, probe: ProbeSettings | None) -> Component:
    return Component(name, Section.DATABASES, "tcp", {}, probe)


def test_what_has_no_probe_is_nobodys() -> None:
    infrastructure = Infrastructure({"a": component("a", ProbeSettings("tcp")), "b": component("b", None)})
    assert list(probed(infrastructure)) == ["a"]


@given(st.sets(st.text(min_size=1), max_size=20), st.sets(st.text(min_size=1), min_size=1, max_size=5))
def test_every_target_is_probed_by_exactly_one_replica(names: set[str], replicas: set[str]) -> None:
    settings = ProbeSettings("tcp")
    targets = {name: (component(name, settings), settings) for name in names}
    shares = [own(targets, replica, replicas) for replica in replicas]
    assert sorted(name for share in shares for name in share) == sorted(names)


@given(seconds, draws)
def test_the_first_probe_comes_soon_whatever_the_interval(interval: float, draw: float) -> None:
    first = first_delay(ProbeSettings("tcp", interval_seconds=interval), draw)
    assert 0 <= first <= min(interval / 2, LONGEST_FIRST_SECONDS)


@given(seconds, st.floats(0, 7200), draws)
def test_the_next_begins_an_interval_after_the_beginning_of_the_last(interval: float, took: float, draw: float) -> None:
    pause = delay(ProbeSettings("tcp", interval_seconds=interval), took, draw)
    assert pause == 0 or 0.899 * interval <= took + pause <= 1.101 * interval
    if took < 0.9 * interval:
        assert pause > 0
