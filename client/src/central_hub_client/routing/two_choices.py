"""Random with two choices: two instances are drawn by weight, and the one with less to do is taken.

That keeps the busiest instance close to the average, where one draw alone does not, and callers that know nothing of
each other do not all turn to the same least busy one (Mitzenmacher, "The Power of Two Choices in Randomized Load
Balancing", 2001).
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Generic

from central_hub_client.routing.policy import Draw, T


class TwoChoices(Generic[T]):
    """`under_way` tells how many calls an instance has to answer now, by its id, where somebody counts them. Of two
    that have equally much for their weight, the one that was taken less often is taken."""

    def __init__(self, instances: Sequence[T], under_way: Mapping[str, int], draw: Draw) -> None:
        self._instances = instances
        self._under_way = under_way
        self._draw = draw
        self._weights = [instance.weight for instance in instances]
        self._bounds = list(accumulate(self._weights))
        self._taken = [0] * len(instances)

    def next(self) -> T:
        first, second = self._drawn(), self._drawn()
        index = second if self._load(second) < self._load(first) else first
        self._taken[index] += 1
        return self._instances[index]

    def _drawn(self) -> int:
        return bisect_right(self._bounds, self._draw() * self._bounds[-1])

    def _load(self, index: int) -> tuple[float, float]:
        weight = self._weights[index]
        return self._under_way.get(self._instances[index].instance_id, 0) / weight, self._taken[index] / weight
