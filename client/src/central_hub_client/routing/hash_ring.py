"""Consistent hashing: a ring with virtual nodes, where weights count by the distance divided by the weight.

In every language and process the same, because all of it is defined here:

- The place of a key is the first four bytes of SHA-256 over its UTF-8, as a big-endian integer: 0 up to 2^32.
- The points of an instance are the eight big-endian integers of four bytes in each of the SHA-256 over the UTF-8 of
  `<instance id>#0`, `<instance id>#1`, … `<instance id>#15`: 128 points, whatever its weight.
- The distance of an instance is that from the place up to its next point, the place itself included, modulo 2^32.
- The key belongs to the instance whose distance divided by its weight (IEEE 754 double precision) is least; of equals,
  to the one whose id comes first.

What one instance scores does not depend on the others. So when one leaves, the keys that it had move, and no others;
and each has a share of the keys in proportion to its weight ("linear method": Schindelhauer and Schomaker, "Weighted
Distributed Hash Tables", 2005), give or take a tenth.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from math import inf
from struct import unpack
from typing import Final, Generic

from central_hub_client.routing.policy import T

_DIGESTS: Final = 16
_MASK: Final = 2**32 - 1
_RANK_BITS: Final = 32
_RANK_MASK: Final = 2**_RANK_BITS - 1
_ONCE_AROUND: Final = 2**32 << _RANK_BITS


def place(key: str) -> int:
    """Where a key lies on the ring."""
    return int.from_bytes(sha256(key.encode(errors="surrogatepass")).digest()[:4])


@lru_cache(maxsize=16_384)
def points(instance_id: str) -> "array[int]":
    """Where an instance lies on the ring, in order."""
    found = (unpack(">8I", sha256(f"{instance_id}#{number}".encode()).digest()) for number in range(_DIGESTS))
    return array("I", sorted(point for part in found for point in part))


def owner(instances: Sequence[T], key: str) -> T:
    """The instance that the key belongs to, of one or more. It looks at every one of them: for many keys and the same
    instances there is the `HashRing`."""
    at = place(key)

    def rank(instance: T) -> tuple[float, str]:
        own = points(instance.instance_id)
        return ((own[bisect_left(own, at) % len(own)] - at) & _MASK) / instance.weight, instance.instance_id

    return min(instances, key=rank)


class HashRing(Generic[T]):
    """The same answers as `owner`, prepared for many keys: one ring for each weight, and a binary search in each."""

    def __init__(self, instances: Sequence[T]) -> None:
        self._instances = sorted(instances, key=lambda instance: instance.instance_id)
        rings: dict[int, list[int]] = {}
        for rank, instance in enumerate(self._instances):
            # A point and whose it is, as one integer: a list of those is sorted and searched fastest.
            rings.setdefault(instance.weight, []).extend(
                [point << _RANK_BITS | rank for point in points(instance.instance_id)]
            )
        for ring in rings.values():
            ring.sort()
            ring.append(ring[0] + _ONCE_AROUND)  # so that there is always a next point
        self._rings = list(rings.items())

    def owner(self, key: str) -> T:
        at = place(key)
        sought = at << _RANK_BITS
        least, owner = inf, 0
        for weight, ring in self._rings:
            entry = ring[bisect_left(ring, sought)]
            score, rank = ((entry >> _RANK_BITS) - at) / weight, entry & _RANK_MASK
            if score < least or (score == least and rank < owner):
                least, owner = score, rank
        return self._instances[owner]
