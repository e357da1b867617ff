"""What has changed in the fleet that whoever calls its services cares for: heartbeats alone are no change. Pure."""

from collections.abc import Iterator

from central_hub.storage.instance_values import Key


class Changes:
    """Counts the changes, and knows of each instance which was its last."""

    def __init__(self) -> None:
        self._last = 0
        self._numbers: dict[str, int] = {}
        self._by_service: dict[str, dict[Key, int]] = {}
        self._forgotten: dict[str, int] = {}

    @property
    def last(self) -> int:
        """The number of the last change of all; 0 before the first."""
        return self._last

    def note(self, key: Key) -> None:
        """An instance came, went, or is another than it was."""
        self._last += 1
        self._numbers[key[0]] = self._last
        changed = self._by_service.setdefault(key[0], {})
        changed.pop(key, None)  # dictionaries keep the order in which keys came
        changed[key] = self._last

    def forget(self, key: Key) -> None:
        """Speak no more of an instance that has been gone for so long that everybody who follows has heard of it."""
        number = self._by_service.get(key[0], {}).pop(key, 0)
        self._forgotten[key[0]] = max(number, self._forgotten.get(key[0], 0))

    def reaches(self, service: str, number: int) -> bool:
        """Whether all the instances are known that changed after the change of that number: none was forgotten."""
        return number >= self._forgotten.get(service, 0)

    def of_service(self, service: str) -> int:
        """The number of the service's last change; 0 where there was none."""
        return self._numbers.get(service, 0)

    def services_since(self, number: int) -> list[str]:
        """The services that changed after the change of that number."""
        return [service for service, last in self._numbers.items() if last > number]

    def since(self, service: str, number: int) -> Iterator[Key]:
        """The instances that changed after the change of that number, the latest first."""
        for key, last in reversed(self._by_service.get(service, {}).items()):
            if last <= number:
                return
            yield key
