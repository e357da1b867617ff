"""What stands in for a configuration that is not there."""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn


class AbsentConfig:
    """Whoever uses it is told what is missing. It costs nothing where there is a configuration."""

    def __init__(self, why: Callable[[], Exception]) -> None:
        self._why = why

    def _refuse(self) -> NoReturn:
        raise self._why()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def __getitem__(self, key: str) -> Any:
        self._refuse()

    def __iter__(self) -> Iterator[str]:
        self._refuse()

    def __repr__(self) -> str:
        return "<no configuration>"
