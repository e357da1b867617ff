from examples.polygon_historical_downloader.circuit import Circuit, admit, failed, released


def after_failures(count: int, *, now: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(count):
        circuit = failed(circuit, now=now, threshold=3)
    return circuit


def test_it_opens_at_the_threshold_and_not_before() -> None:
    assert not after_failures(2).is_open
    assert after_failures(3).is_open


def test_an_open_circuit_lets_nothing_pass_until_the_recovery_time_is_over() -> None:
    circuit = after_failures(3, now=100.0)
    assert admit(circuit, now=159.9, recovery_seconds=60) is None
    assert admit(circuit, now=160.0, recovery_seconds=60) is not None


def test_after_the_recovery_time_one_trial_passes_and_the_others_wait_for_it() -> None:
    trial = admit(after_failures(3), now=60.0, recovery_seconds=60)
    assert trial is not None
    assert admit(trial, now=61.0, recovery_seconds=60) is None


def test_a_failed_trial_opens_it_anew() -> None:
    trial = admit(after_failures(3), now=60.0, recovery_seconds=60)
    assert trial is not None
    again = failed(trial, now=61.0, threshold=3)
    assert admit(again, now=120.0, recovery_seconds=60) is None
    assert admit(again, now=121.0, recovery_seconds=60) is not None


def test_a_trial_that_came_to_nothing_does_not_keep_the_others_waiting_for_ever() -> None:
    trial = admit(after_failures(3), now=60.0, recovery_seconds=60)
    assert trial is not None
    assert admit(released(trial), now=61.0, recovery_seconds=60) is not None


def test_a_raised_threshold_counts_from_the_next_failure() -> None:
    circuit = failed(after_failures(2), now=0.0, threshold=10)
    assert not circuit.is_open
