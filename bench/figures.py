"""What a measurement gives: a line of the table, with the aim that it is held against."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured thing. `ratio` is against the raw limit measured beside it; `aim` is written as people say it."""

    what: str
    measured: str
    against: str = ""
    ratio: float | None = None
    aim: str = ""
    reached: bool | None = None

    @property
    def verdict(self) -> str:
        return "" if self.reached is None else "reached" if self.reached else "missed"


def at_least(what: str, measured: str, against: str, ratio: float, aim: float) -> Figure:
    """A figure whose ratio should be no less than the aim."""
    return Figure(what, measured, against, ratio, f">= {aim:g}", ratio >= aim)


def at_most(what: str, measured: str, against: str, ratio: float, aim: float) -> Figure:
    """A figure whose ratio should be no more than the aim."""
    return Figure(what, measured, against, ratio, f"<= {aim:g}", ratio <= aim)


def percentile_ms(seconds: list[float], share: float) -> float:
    """Of durations in seconds, in milliseconds."""
    return sorted(seconds)[int((len(seconds) - 1) * share)] * 1000
