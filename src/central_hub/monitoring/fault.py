"""Something wrong in infrastructure.yaml, by its path. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from central_hub.security.credential_shapes import kind_of_credential
from central_hub_client.strict_yaml import Flaw, Node

_GUESSED_AMONG: Final = 2000
"""To compare a wrong name with more would take too long."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the value at `path`, or with its key. No sentence quotes a value: that may be a secret."""

    path: Path
    sentence: str
    is_of_key: bool = False

    def in_text(self, root: Node) -> Flaw:
        """With the line and column at which it stands."""
        return Flaw(root.key(self.path) if self.is_of_key else root.at(self.path), self.sentence)


def quoted(key: str) -> str:
    """A key, to be read in a sentence."""
    if len(key) > 64 or not key.isprintable() or kind_of_credential(key) is not None:
        return "this key"
    return f"`{key}`"


def guess(name: Any, known: Sequence[str]) -> str:
    """`, did you mean …?` where one of the known names is near, else which there are, if they are few."""
    if isinstance(name, str) and len(known) <= _GUESSED_AMONG and (near := get_close_matches(name[:100], known, n=1)):
        return f", did you mean `{near[0]}`?"
    return f"; there are {', '.join(map(quoted, known))}" if 0 < len(known) <= 12 else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one: what it should be is said elsewhere."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> Sequence[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list) else ()
