"""Merge configuration layers by priority and remember which layer won each key. Pure.

Objects merge recursively; lists and scalars replace; an explicit null is a value like any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from central_hub_client.strict_json import escape_pointer

# Told apart first: asking an abstract class about every number makes a merge five times as slow.
_SCALARS: Final = (str, int, float, type(None))


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One object out of `layers`, lowest priority first. The inputs are neither changed nor shared by the result."""
    result: dict[str, Any] = {}
    for layer in layers:
        _merge_into(result, layer)
    return result


def origins(layers: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """For the JSON Pointer of every leaf of `merge(layers)`: the indexes of the layers that set it, winner first.

    A leaf is a scalar, a list or an empty object. The indexes after the first are the layers whose value it hides.
    """
    found: dict[str, list[int]] = {}
    _collect_origins(list(enumerate(layers)), "", found)
    return found


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The leaves of a tree with their paths: a scalar, a list or an empty object each is one."""
    if isinstance(value, Mapping) and (value or not path):
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)))
    else:
        yield path, value


def _merge_into(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, _SCALARS):
            target[key] = value
        elif isinstance(value, Mapping):
            below = target.get(key)
            if not isinstance(below, dict):
                below = target[key] = {}
            _merge_into(below, value)
        else:
            target[key] = _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _collect_origins(layers: list[tuple[int, Mapping[str, Any]]], pointer: str, found: dict[str, list[int]]) -> None:
    keys: dict[str, list[tuple[int, Any]]] = {}
    for index, layer in layers:
        for key, value in layer.items():
            keys.setdefault(key, []).append((index, value))
    for key, setters in keys.items():
        at = f"{pointer}/{escape_pointer(key)}"
        # Only the unbroken run of objects on top merges; a scalar or a list hides every object beneath it.
        run: list[tuple[int, Mapping[str, Any]]] = []
        for index, value in reversed(setters):
            if not isinstance(value, Mapping):
                break
            run.append((index, value))
        if run and any(value for _, value in run):
            _collect_origins(list(reversed(run)), at, found)
        else:
            found[at] = [index for index, _ in reversed(setters)]
