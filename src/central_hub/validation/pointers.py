"""JSON Pointers (RFC 6901). Pure.

Beside the client's, because a worker that is replaced must be there again at once: it imports next to nothing.
"""

from collections.abc import Container, Iterable


def token(name: str) -> str:
    """One reference token of a pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def pointer(path: Iterable[str | int]) -> str:
    """The pointer to the value at a path."""
    return "".join(f"/{token(str(step))}" for step in path)


def steps(pointer: str) -> list[str]:
    """The keys on the way that a pointer describes."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def touches(one: str, other: str) -> bool:
    """Whether of two pointers one leads to the other's place, or to a place around it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def lies_in(pointer: str, places: Container[str]) -> bool:
    """Whether the pointer leads to one of the places, or into it."""
    while pointer:
        if pointer in places:
            return True
        pointer = pointer.rpartition("/")[0]
    return False
