"""A circuit breaker: after enough failures in a row, leave the other side alone for a while. Pure."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Circuit:
    """Closed while `opened_at` is None. Once the recovery time is over, one trial request decides."""

    failures: int = 0
    opened_at: float | None = None
    trial: bool = False

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None


def admit(circuit: Circuit, *, now: float, recovery_seconds: float) -> Circuit | None:
    """The circuit after letting one request pass, or None: it has to wait."""
    if circuit.opened_at is None:
        return circuit
    if circuit.trial or now < circuit.opened_at + recovery_seconds:
        return None
    return replace(circuit, trial=True)


def failed(circuit: Circuit, *, now: float, threshold: int) -> Circuit:
    """The circuit after a request without a usable answer."""
    failures = circuit.failures + 1
    if circuit.trial or failures >= threshold:
        return Circuit(failures, opened_at=now)
    return replace(circuit, failures=failures)


def released(circuit: Circuit) -> Circuit:
    """The circuit after a trial that came to nothing: the next request is the trial."""
    return replace(circuit, trial=False)
