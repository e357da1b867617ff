"""What `doctor` finds: one line for each thing that it looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `remedy` says what to do where it is not as it should be."""

    what: str
    ok: bool
    found: str
    remedy: str = ""
