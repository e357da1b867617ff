"""Another service, which calls the pilots."""

import time
from typing import Final

import httpx2

from central_hub_client import ServiceDirectory
from examples.demonstration.programs import PATIENCE_SECONDS, SERVICE, StepFailed

_LONGEST_LEASE_SECONDS: Final = 60.0
_BETWEEN_CALLS_SECONDS: Final = 0.02


class Caller:
    """Calls the pilots, each time the one that its directory picks. It keeps a list of them, and asks no hub."""

    def __init__(self, directory: ServiceDirectory, http: httpx2.Client) -> None:
        self._directory = directory
        self._http = http
        self.tries_in_vain = 0

    def names(self, count: int) -> list[str]:
        """The instances that there are, the one that came first before the others, once there are so many."""
        began = time.monotonic()
        while len(instances := self._directory.instances(SERVICE)) < count:
            if time.monotonic() > began + PATIENCE_SECONDS:
                raise StepFailed(f"the directory does not know {count} instances")
            time.sleep(0.05)
        return [instance.instance_id for instance in instances]

    def call(self) -> str:
        """Who answered. One that cannot be reached costs another try, and no call. Raises StepFailed."""
        for _ in range(10):
            instance = self._directory.pick(SERVICE).instance
            try:
                answer = self._http.get(f"{instance.url}/status")
            except httpx2.TransportError:
                self.tries_in_vain += 1
                continue
            if answer.status_code == httpx2.codes.OK:
                return instance.instance_id
        raise StepFailed("a call was lost")

    def call_until(self, name: str) -> float:
        """Call until this one answers; the seconds that took. Raises StepFailed."""
        began = time.monotonic()
        while self.call() != name:
            if time.monotonic() > began + PATIENCE_SECONDS:
                raise StepFailed(f"no call came to {name}")
            time.sleep(_BETWEEN_CALLS_SECONDS)
        return time.monotonic() - began

    def call_until_only(self, name: str) -> float:
        """Call until twenty in a row were answered by this one, at the first try; the seconds until the first of them.
        Raises StepFailed."""
        began = since = time.monotonic()
        in_a_row = 0
        while in_a_row < 20:
            failed = self.tries_in_vain
            if self.call() == name and self.tries_in_vain == failed:
                in_a_row += 1
            else:
                since, in_a_row = time.monotonic(), 0
            if time.monotonic() > began + _LONGEST_LEASE_SECONDS:
                raise StepFailed(f"calls did not come to {name} alone")
            time.sleep(_BETWEEN_CALLS_SECONDS)
        return since - began
