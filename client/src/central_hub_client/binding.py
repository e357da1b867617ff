"""What a configuration is turned into for its readers, and what is asked of it. Here: plain data, read-only.

`model_binding` does the same for Pydantic models and dataclasses; it is loaded where one is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from central_hub_client import layers
from central_hub_client.declared import Shape
from central_hub_client.read_only import ReadOnlyDict

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a configuration is refused: where, and a sentence that repeats no secret.

    `places` are the files and lines, or variables, that say what is refused.
    """

    path: tuple[str, ...]
    message: str
    is_missing: bool = False
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = f"{'.'.join(self.path)}: {self.message}" if self.path else self.message
        return f"{named} ({', '.join(self.places)})" if self.places else named


class Refused(Exception):
    """The configuration cannot be used; what is in use stays."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class Binding(Protocol[S_co]):
    """Turns plain data into what readers get."""

    @property
    def shape(self) -> Shape | None:
        """What is declared, None where anything goes."""

    @property
    def json_schema(self) -> Mapping[str, Any] | None: ...

    @property
    def reads(self) -> frozenset[tuple[str, ...]] | None:
        """The paths of the leaves that were ever read, None where that is not known."""

    def bind(self, values: dict[str, Any]) -> S_co:
        """Raises Refused."""

    def child(self, value: Any, key: str) -> Any:
        """What `value` holds under `key`. Raises KeyError."""

    def tree(self, value: Any) -> Any:
        """`value` as plain objects, keys as documents spell them; leaves stay what they are."""


class PlainBinding:
    """Without a model: everything is taken, and read through a read-only mapping."""

    shape = None
    json_schema = None

    def __init__(self) -> None:
        self._reads: set[tuple[str, ...]] = set()

    @property
    def reads(self) -> frozenset[tuple[str, ...]]:
        return frozenset(self._reads.copy())

    def bind(self, values: dict[str, Any]) -> ReadOnlyDict:
        return ReadOnlyDict(values, self._reads)

    def child(self, value: Any, key: str) -> Any:
        if not isinstance(value, Mapping):
            raise KeyError(key)
        return value[key]

    def tree(self, value: Any) -> Any:
        return value._values if isinstance(value, ReadOnlyDict) else value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`, a copy; of two that say something of the same place the later counts."""
    objects = []
    for path, value in values.items():
        for key in reversed(path.split(".")):
            value = {key: value}
        objects.append(value)
    return layers.merge(objects)
