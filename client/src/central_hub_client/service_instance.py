"""An instance of another service, as the hub lists it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """How to reach it, what it is, and how it was when the hub last said so.

    `state` is a word of `HealthState`, or one that only a later hub knows. `kept` says that it fell silent
    together with too many others, and is told of as it was last known.
    """

    service: str
    environment: str
    instance_id: str
    state: str
    weight: int = 1
    zone: str | None = None
    host: str | None = None
    port: int | None = None
    protocol: str | None = None
    version: str | None = None
    capabilities: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kept: bool = False

    @property
    def url(self) -> str | None:
        """`http://10.0.0.7:8080`, None where it did not say its host."""
        if self.host is None:
            return None
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{self.protocol or 'http'}://{host}" + ("" if self.port is None else f":{self.port}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"capabilities": list(self.capabilities)}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what a hub sent. Unknown keys are ignored (a later hub may send more). Raises ValueError."""
        if not isinstance(value, Mapping):
            raise ValueError("an instance must be a JSON object")
        return cls(
            service=_of(value, "service", str),
            environment=_of(value, "environment", str),
            instance_id=_of(value, "instance_id", str),
            state=_of(value, "state", str),
            weight=_of(value, "weight", int, 1),
            zone=_of(value, "zone", str, None),
            host=_of(value, "host", str, None),
            port=_of(value, "port", int, None),
            protocol=_of(value, "protocol", str, None),
            version=_of(value, "version", str, None),
            capabilities=tuple(map(str, _of(value, "capabilities", list, []))),
            labels=_of(value, "labels", dict, {}),
            metadata=_of(value, "metadata", dict, {}),
            kept=_of(value, "kept", bool, False),
        )


_NEEDED: Any = object()


def _of(value: Mapping[str, Any], name: str, kind: type, default: Any = _NEEDED) -> Any:
    found = value.get(name)
    if found is None and default is not _NEEDED:
        return default
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise ValueError(f"{name} of an instance must be a {kind.__name__}")
    return found
