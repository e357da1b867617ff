"""A part of a configuration, by its dotted path."""

from typing import Any, Protocol


class _Manager(Protocol):
    def get(self, path: str, default: Any = None) -> Any: ...

    def __getitem__(self, path: str) -> Any: ...

    def __contains__(self, path: object) -> bool: ...


class Section:
    """What lies under a path of a manager, always as it is now."""

    __slots__ = ("_manager", "path")

    def __init__(self, manager: _Manager, path: str) -> None:
        self._manager = manager
        self.path = path

    def __repr__(self) -> str:
        return f"Section({self.path!r})"

    @property
    def current(self) -> Any:
        """The part itself. Raises KeyError where there is none."""
        return self._manager[self.path]

    def get(self, path: str, default: Any = None) -> Any:
        return self._manager.get(f"{self.path}.{path}", default)

    def section(self, path: str) -> "Section":
        return Section(self._manager, f"{self.path}.{path}")

    def __getitem__(self, path: str) -> Any:
        return self._manager[f"{self.path}.{path}"]

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and f"{self.path}.{path}" in self._manager
