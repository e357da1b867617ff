"""One list of instances that is kept current: by asking, or, while it is carried, by a stream."""

import asyncio
import time
from collections.abc import Sequence

from central_hub_client.errors import CentralHubError
from central_hub_client.held_instances import HeldInstances
from central_hub_client.service_instance import ServiceInstance


class FollowedList:
    """What the hub told of a service in this run, and by which way it tells."""

    def __init__(self, held: HeldInstances) -> None:
        self.held = held
        self.told: tuple[ServiceInstance, ...] | None = None
        """What the hub last said, whether it was followed in that or not."""
        self.attempted = asyncio.Event()
        """Set once the hub was asked."""
        self.answered = asyncio.Event()
        """Set while the last question was answered: the hub is there, and lets us read this."""
        self.carried = asyncio.Event()
        """Set while a stream tells of every change."""
        self.lost = asyncio.Event()
        """Set while none does."""
        self.lost.set()

    def take(self, instances: Sequence[ServiceInstance]) -> None:
        """The hub says, in whichever way, that these are all there are."""
        self.told = tuple(instances)
        self.held.take(self.told, time.monotonic())

    def fail(self, error: CentralHubError) -> None:
        """The hub was asked and did not answer, or said no."""
        self.answered.clear()
        self.held.fail(error, time.monotonic())

    def carry(self) -> None:
        self.carried.set()
        self.lost.clear()

    def lose(self) -> None:
        """No stream tells of it any more. The hub must be asked before another one does: it may have been away."""
        if self.carried.is_set():
            self.answered.clear()
        self.carried.clear()
        self.lost.set()
