"""Configuration as plain data that nobody can alter, and that knows which of its values were ever read.

A value is looked up once for each configuration; from then on it is found where it was put, so that keeping track of
what is read costs nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn


class ReadOnlyDict(Mapping[str, Any]):
    """An object of the configuration. Its repr names the keys only: values may be secrets."""

    __slots__ = ("_path", "_reads", "_seen", "_values")

    def __init__(self, values: Mapping[str, Any], reads: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> None:
        self._values = values
        self._reads = reads
        self._path = path
        self._seen: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        try:
            return self._seen[key]
        except KeyError:
            return self._first_read(key)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<configuration of {', '.join(self._values) or 'nothing'}>"

    def to_dict(self) -> dict[str, Any]:
        """A copy of the caller's own, as plain dicts and lists. All of it counts as read."""
        return {key: _plain(value) for key, value in self.items()}

    def _first_read(self, key: str) -> Any:
        value = self._values[key]
        path = (*self._path, key)
        if isinstance(value, Mapping):
            value = ReadOnlyDict(value, self._reads, path)
        else:
            value = frozen(value)
            self._reads.add(path)
        self._seen[key] = value
        return value


class ReadOnlyList(list[Any]):
    """A list of the configuration: compares and serialises as a list, refuses to be altered."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("the configuration is shared by all its readers: take a copy with list(...)")

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __repr__(self) -> str:
        return f"<list of {len(self)}>"


def frozen(value: Any) -> Any:
    """`value` with every list and object in it read-only."""
    if isinstance(value, list):
        return ReadOnlyList(map(frozen, value))
    if isinstance(value, Mapping):
        return ReadOnlyDict({key: frozen(item) for key, item in value.items()}, set())
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, ReadOnlyDict):
        return value.to_dict()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
