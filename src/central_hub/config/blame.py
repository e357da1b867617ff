"""Who set each value of a document last: told from its change lists, newest first. Pure."""

from collections.abc import Iterable

from central_hub.storage.config_values import LoggedChange


class Blame:
    """The values, by JSON Pointer, whose last change is still looked for, and what was found for the others.

    The history is taken in, newest first, until nothing is looked for any more. What no entry explains (its content
    was redacted, or retention has removed it) stays without one.
    """

    def __init__(self, pointers: Iterable[str]) -> None:
        self.missing = set(pointers)
        self.found: dict[str, LoggedChange] = {}

    def take(self, entry: LoggedChange) -> None:
        """Look for the missing values in the next entry."""
        if entry.places is None:
            self.missing.clear()  # it may have set any of them: nobody can be named
            return
        places = set(entry.places)
        settled = {pointer for pointer in self.missing if _is_touched(pointer, places)}
        self.missing -= settled
        self.found |= dict.fromkeys(settled, entry)


def _is_touched(pointer: str, places: set[str]) -> bool:
    """Whether a change at one of the places made the value: at it, around it, or inside an object left empty."""
    around = pointer
    while around:
        if around in places:
            return True
        around = around.rpartition("/")[0]
    return "" in places or any(place.startswith(f"{pointer}/") for place in places)
