"""The words of routing: what may be asked for, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

Draw = Callable[[], float]
"""A random number from 0 up to, not including, 1: `random.random`."""


class Policy(StrEnum):
    """How one instance of several is chosen. All of them go by weight, and by health first."""

    ROUND_ROBIN = "round_robin"
    """In turn, as evenly spread as the weights allow."""
    RANDOM = "random"
    """Two are drawn; the one that has less to do is taken."""
    CONSISTENT_HASH = "consistent_hash"
    """The same key, the same instance, for as long as that is there."""
    SAME_ZONE = "same_zone"
    """In turn among those of a zone; where it has none, among all."""


class Fallback(StrEnum):
    """How a choice is less than what was asked for."""

    OTHER_ZONE = "other_zone"
    DEGRADED = "degraded"
    KEPT = "kept"
    """The hub has not heard of it, nor of too many others at once, and lists them as they were."""


class Routable(Protocol):
    """What routing looks at. A state that it does not know, because a later hub told of it, is not called."""

    @property
    def instance_id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def zone(self) -> str | None: ...


T = TypeVar("T", bound=Routable)


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """The instance to call, and how it falls short of what was asked for: empty where it does not."""

    instance: T
    fallbacks: tuple[Fallback, ...] = ()


class NothingToCall(LookupError):
    """No instance may be called. The message says how those that there are are."""
