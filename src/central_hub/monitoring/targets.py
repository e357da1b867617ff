"""The targets as one replica knows them: what the store says, and what it has found out itself and not written. Pure.

`moment` is a time in seconds that only goes forward, which nobody sets: by it results grow old.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from central_hub.monitoring.health import as_counted, unprobed
from central_hub.monitoring.infrastructure import ProbeSettings
from central_hub.storage.target_values import Target, Transition

REFRESH_SECONDS: Final = 30.0
"""A result that says nothing new is written no more often than this: elsewhere `probed_at` may be so much older."""
UNWRITTEN_TRANSITIONS: Final = 200
"""Kept of one target while the store cannot be reached, the latest."""


@dataclass(slots=True)
class _Held:
    target: Target
    moment: float
    """When it was probed."""
    stored: Target | None = None
    written_at: float = 0.0
    transitions: list[Transition] = field(default_factory=list)
    tried: Target | None = None
    """What was last tried to be written, with these transitions: whether it arrived may be unknown."""
    tried_transitions: tuple[Transition, ...] = ()


class Targets:
    """A target's row is written by compare-and-set on its `change`: where another replica was quicker, what that one
    found out stands."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self.version = 0
        """Rises whenever a target is told otherwise than before."""

    def keep(self, names: Collection[str], now: datetime, moment: float) -> list[str]:
        """These are all targets that there are. Returns those that were there before and are not."""
        gone = [name for name in self._held if name not in names]
        for name in gone:
            del self._held[name]
        for name in names:
            if name not in self._held:
                self._held[name] = _Held(unprobed(name, now), moment)
                self.version += 1
        self.version += len(gone)
        return gone

    def find(self, name: str) -> Target | None:
        """A target as it was when it was last probed."""
        held = self._held.get(name)
        return None if held is None else held.target

    def counted(
        self, settings: Mapping[str, ProbeSettings], now: datetime, moments: Mapping[str, float]
    ) -> Iterator[tuple[str, Target]]:
        """Every target as it counts at its moment."""
        for name, held in self._held.items():
            age = timedelta(seconds=max(0.0, moments[name] - held.moment))
            yield name, as_counted(held.target, settings[name], age, now)

    def found(self, target: Target, transition: Transition | None, moment: float) -> None:
        """This replica has found out how a target is, now."""
        held = self._held[target.name]
        self.version += _shown(target) != _shown(held.target)
        if target.probed_at != held.target.probed_at:
            held.moment = moment
        held.target = target
        if transition is not None:
            held.transitions = [*held.transitions, transition][-UNWRITTEN_TRANSITIONS:]

    def unwritten_transitions(self, name: str) -> list[Transition]:
        held = self._held.get(name)
        return [] if held is None else list(held.transitions)

    def to_write(self, moment: float) -> tuple[list[Target], list[Transition]]:
        """The rows to write now, each with the `change` that it has by that, and the transitions that led there."""
        rows, transitions = [], []
        for held in self._held.values():
            if _is_due(held, moment):
                held.tried = replace(held.target, change=held.target.change + 1)
                held.tried_transitions = tuple(held.transitions)
                rows.append(held.tried)
                transitions += held.transitions
        return rows, transitions

    def written(self, names: Iterable[str], moment: float) -> None:
        """The store has these as they were last tried to be written."""
        for name in names:
            if (held := self._held.get(name)) is not None and held.tried is not None:
                _arrived(held, held.tried, moment)

    def is_known(self, name: str, change: int) -> bool:
        """Whether reading the row of that `change` would tell nothing new."""
        held = self._held.get(name)
        return held is None or (held.stored is not None and held.stored.change == change)

    def take(self, row: Target, now: datetime, moment: float) -> None:
        """Take over what the store says, unless it is what this replica said itself."""
        held = self._held.get(row.name)
        if held is None or row == held.stored:
            return
        if row == held.tried:
            _arrived(held, row, moment)
            return
        self.version += _shown(row) != _shown(held.target)
        age = max(0.0, (now - row.probed_at).total_seconds())
        self._held[row.name] = _Held(row, moment - age, stored=row, written_at=moment)

    def take_all(self, rows: Iterable[Target], own: Collection[str], now: datetime, moment: float) -> None:
        """Begin anew from all that the store has. What it does not have is written again.

        Nobody could tell it anything while it was away, nor could any hub while there was none: what others probe grows
        old from here.
        """
        there = set()
        for row in rows:
            there.add(row.name)
            self.take(row, now, moment)
        for name, held in self._held.items():
            if name not in there:
                held.stored = held.tried = None
                held.target = replace(held.target, change=0)
            if name not in own or held.target.probed_at == (held.stored and held.stored.probed_at):
                held.moment = moment


def _is_due(held: _Held, moment: float) -> bool:
    if not held.target.probed_by:
        return False
    if held.stored is None or held.transitions or _face(held.target) != _face(held.stored):
        return True
    return held.target.probed_at != held.stored.probed_at and moment - held.written_at >= REFRESH_SECONDS


def _arrived(held: _Held, row: Target, moment: float) -> None:
    held.stored, held.written_at, held.tried = row, moment, None
    held.target = replace(held.target, change=row.change)
    held.transitions = [each for each in held.transitions if each not in held.tried_transitions]
    held.tried_transitions = ()


def _shown(target: Target) -> tuple[object, ...]:
    return target.state, target.since, target.reason


def _face(target: Target) -> tuple[object, ...]:
    """What a row must say for another replica to go on from it."""
    return target.state, target.since, target.against, target.turns, target.reason
