"""Which replica does what any of them could: rendezvous hashing. Pure.

All agree without a word, and when one dies, its own tasks move to the others and no others move.
"""

from collections.abc import Iterable
from hashlib import blake2b


def chosen(task: str, replicas: Iterable[str]) -> str:
    """Whose task it is, of at least one replica."""
    return max(replicas, key=lambda replica: (blake2b(task.encode(), key=_digest(replica)).digest(), replica))


def _digest(replica: str) -> bytes:
    return blake2b(replica.encode()).digest()
