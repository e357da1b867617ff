"""Where each value comes from, and what it hides. Pure: everything follows from a snapshot.

A secret's value is never shown: not one that the model declares secret, not one that stands behind a reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from central_hub_client import layers
from central_hub_client.assembly import Layer, Snapshot
from central_hub_client.binding import Binding
from central_hub_client.secret_references import Reference, unmarked
from central_hub_client.strict_json import escape_pointer

HIDDEN: Final = "**********"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """A value as one layer says it. `place` is a file and line, a variable, or a revision of the hub and its author."""

    layer: str
    place: str | None
    value: Any

    def __str__(self) -> str:
        return f"{self.value!r} from {self.layer}" + (f" ({self.place})" if self.place else "")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The value at a dotted path, the layer that won and where it is written, and what it hid, the next best first.

    `layer` is `default` where no layer says anything. Where the path leads to a whole section, `layer` is None and
    `parts` explains each of its leaves.
    """

    path: str
    value: Any
    layer: str | None
    place: str | None
    hidden: tuple[Origin, ...] = ()
    parts: tuple["Explanation", ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        if self.parts:
            return "\n".join(map(str, self.parts))
        lines = [f"{self.path} = {Origin(self.layer or DEFAULT, self.place, self.value)}"]
        return "\n".join([*lines, *(f"  hides {origin}" for origin in self.hidden)])


def explain_all(snapshot: Snapshot[Any], binding: Binding[Any]) -> dict[str, Explanation]:
    """The explanation of every leaf, by dotted path."""
    return _explained(binding.tree(snapshot.value), snapshot.layers, snapshot, binding)


def explain(path: str, snapshot: Snapshot[Any], binding: Binding[Any]) -> Explanation:
    """Raises KeyError where there is no such value."""
    first = path.partition(".")[0]
    # Only what is under the first key: the whole may be large.
    part = {key: value for key, value in binding.tree(snapshot.value).items() if key == first}
    ordered = [
        replace(layer, values={k: v for k, v in layer.values.items() if k == first}) for layer in snapshot.layers
    ]
    found = _explained(part, ordered, snapshot, binding)
    if path in found:
        return found[path]
    parts = tuple(part for dotted, part in found.items() if dotted.startswith(f"{path}."))
    if not parts:
        raise KeyError(path)
    return Explanation(path, {part.path: part.value for part in parts}, None, None, parts=parts)


def _explained(
    tree: Mapping[str, Any], ordered: Sequence[Layer], snapshot: Snapshot[Any], binding: Binding[Any]
) -> dict[str, Explanation]:
    origins = layers.origins([layer.values for layer in ordered])
    found = {}
    for path, value in layers.leaves(tree):
        if path:
            dotted = ".".join(path)
            said = _said(path, ordered, origins)
            # What one layer keeps as a reference is a secret in the others too, however they spell it.
            is_secret = any(_refers(raw) for _, _, raw in said)
            hidden = [
                Origin(
                    layer.name,
                    place(layer, pointer),
                    HIDDEN if is_secret and not _refers(raw) else _shown(raw, path, binding),
                )
                for layer, pointer, raw in said
            ]
            winner = hidden.pop(0) if hidden else Origin(DEFAULT, None, None)
            shown = HIDDEN if is_secret else shown_value(value, path, snapshot, binding)
            found[dotted] = Explanation(dotted, shown, winner.layer, winner.place, tuple(hidden))
    return found


def shown_value(value: Any, path: tuple[str, ...], snapshot: Snapshot[Any], binding: Binding[Any]) -> Any:
    """`value` as it may be shown."""
    is_declared_secret = binding.shape is not None and binding.shape.has_secret(path)
    if is_declared_secret or path in snapshot.secrets or hasattr(value, "get_secret_value"):
        return None if value is None else HIDDEN
    if isinstance(value, Mapping):
        return {key: shown_value(item, (*path, str(key)), snapshot, binding) for key, item in value.items()}
    if isinstance(value, list | tuple):
        tree = binding.tree
        return [shown_value(tree(item), (*path, str(index)), snapshot, binding) for index, item in enumerate(value)]
    return value


def _said(
    path: tuple[str, ...], ordered: Sequence[Layer], origins: Mapping[str, list[int]]
) -> list[tuple[Layer, str, Any]]:
    """What the layers say at `path` and where, the winner first; a leaf may be a part of what is said as one value."""
    for length in range(len(path), 0, -1):
        pointer = "".join(f"/{escape_pointer(key)}" for key in path[:length])
        if pointer in origins:
            return [(ordered[index], pointer, _at(ordered[index].values, path)) for index in origins[pointer]]
    return []


def place(layer: Layer, pointer: str) -> str | None:
    """Where a layer has a value from."""
    if layer.object is not None:
        received = layer.object
        author = f" by {received.updated_by}" if received.updated_by else ""
        return f"revision {received.position}{author}"
    return layer.place_of(pointer)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            break
        value = value[key]
    return value


def _refers(value: Any) -> bool:
    """Whether a reference to a secret is in it."""
    if isinstance(value, Mapping):
        return any(map(_refers, value.values()))
    return any(map(_refers, value)) if isinstance(value, list) else isinstance(value, Reference)


def _shown(value: Any, path: tuple[str, ...], binding: Binding[Any]) -> Any:
    if isinstance(value, Reference):
        return unmarked(value)
    if binding.shape is not None and binding.shape.has_secret(path):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _shown(item, (*path, str(key)), binding) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item, (*path, str(index)), binding) for index, item in enumerate(value)]
    return value
