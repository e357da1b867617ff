"""Which instances are kept as they were last known, because too many fell silent at once. Pure.

One instance that is not heard of has crashed. When most of a service's are not heard of, all at the same time, it is
likelier that they cannot be heard, and a list without them would take down whoever goes by it.

What is decided is a function of the instances alone: every replica comes to the same, also after a restart.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from central_hub.coordination.check_result import CALLABLE
from central_hub.coordination.registry import is_remembered, last_state, lease_ends
from central_hub.storage.instance_values import Instance, Key

LEAST: Final = 3
"""Fewer than these are no fleet that went away at once: they crashed."""


def overdue_at(instance: Instance) -> datetime:
    """When it has not been heard of for half of its lease. One that is heard after that may change who is kept."""
    return lease_ends(instance) - timedelta(seconds=instance.lease_seconds / 2)


def kept(instances: Iterable[Instance], share: float, now: datetime) -> frozenset[Key]:
    """The keys of the instances that are kept, of those of one service in one environment.

    When a lease ends, whoever has not been heard of for half of his own counts as gone too, and so does whoever is kept
    already. The one whose lease ends is kept where these are more than `share` of all that could be called then. As
    they are heard again, or others take their place, the share falls, and those that are still silent expire.
    """
    able = [instance for instance in instances if last_state(instance) in CALLABLE]
    known = [instance for instance in able if is_remembered(instance, now)]
    lapsed = sorted((instance for instance in known if lease_ends(instance) <= now), key=lease_ends)
    overdue = sorted(map(overdue_at, known))
    ends = sorted(map(lease_ends, known))
    found: set[Key] = set()
    for at, together in groupby(lapsed, key=lease_ends):
        is_overdue = bisect_right(overdue, at)
        silent = is_overdue - bisect_left(ends, at) + len(found)
        heard = len(known) - is_overdue + sum(_left_after(instance, at) for instance in able)
        if silent >= LEAST and silent > share * (silent + heard):
            found.update(instance.key for instance in together)
    return frozenset(found)


def _left_after(instance: Instance, moment: datetime) -> bool:
    """Whether it was there at a moment, and said goodbye later: that is no reason to change one's mind."""
    return instance.deregistered_at is not None and instance.registered_at <= moment < instance.deregistered_at
