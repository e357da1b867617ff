"""Round robin by weight, as evenly spread as the weights allow: earliest deadline first."""

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import Generic

from central_hub_client.routing.policy import Draw, T


class Turns(Generic[T]):
    """Instances in turn. Within as many turns as all weights add up to, each has exactly as many as its weight.

    On a common clock an instance of weight w is due at (p + k) / w for k = 0, 1, 2, …; whoever is due first is next.
    The phases p are spread evenly between 0 and 1 and dealt at random: many light instances are not due all at once
    beside a heavy one, and many callers that begin together do not all begin with the same instance.
    """

    def __init__(self, instances: Sequence[T], draw: Draw) -> None:
        order = sorted(instances, key=lambda _: draw())
        phases = ((rank + 0.5) / len(order) for rank in range(len(order)))
        # The rank settles ties, so that instances are never compared. Due times are computed anew from the count of
        # turns instead of added up: nothing drifts.
        self._due = [
            (phase / instance.weight, rank, phase, instance)
            for rank, (phase, instance) in enumerate(zip(phases, order, strict=True))
        ]
        heapify(self._due)

    def next(self) -> T:
        _, rank, turn, instance = self._due[0]
        turn += 1.0
        heapreplace(self._due, (turn / instance.weight, rank, turn, instance))
        return instance
