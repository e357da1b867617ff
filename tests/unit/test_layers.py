"""Merging layers, and telling which layer won each leaf."""

import copy
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub_client.layers import merge, origins
from central_hub_client.strict_json import escape_pointer

Layer = dict[str, Any]


@pytest.mark.parametrize(
    ("layers", "merged", "origin"),
    [
        ([], {}, {}),
        ([{}], {}, {}),
        ([{"a": 1}, {"a": 2}], {"a": 2}, {"/a": [1, 0]}),
        ([{"a": 1}, {"b": 2}], {"a": 1, "b": 2}, {"/a": [0], "/b": [1]}),
        ([{"a": {"x": 1}}, {"a": {"y": 2}}], {"a": {"x": 1, "y": 2}}, {"/a/x": [0], "/a/y": [1]}),
        ([{"a": [1, 2]}, {"a": [3]}], {"a": [3]}, {"/a": [1, 0]}),
        ([{"a": [{"x": 1}]}, {"a": [{}]}], {"a": [{}]}, {"/a": [1, 0]}),
        ([{"a": 1}, {"a": None}], {"a": None}, {"/a": [1, 0]}),
        ([{"a": {"x": 1}}, {"a": None}], {"a": None}, {"/a": [1, 0]}),
        ([{"a": {"x": 1}}, {"a": None}, {"a": {"y": 2}}], {"a": {"y": 2}}, {"/a/y": [2]}),
        ([{"a": {"x": 1}}, {"a": 5}, {"a": {"x": 2}}], {"a": {"x": 2}}, {"/a/x": [2]}),
        ([{"a": {"x": 1}}, {"a": [1]}, {"a": {}}], {"a": {}}, {"/a": [2, 1, 0]}),
        ([{"a": {"x": 1}}, {"a": {}}], {"a": {"x": 1}}, {"/a/x": [0]}),
        ([{"a": 5}, {"a": {}}], {"a": {}}, {"/a": [1, 0]}),
        ([{"a": {}}, {"a": {}}], {"a": {}}, {"/a": [1, 0]}),
        ([{"a": {"b": {}}}, {"a": {"b": {"c": 1}}}], {"a": {"b": {"c": 1}}}, {"/a/b/c": [1]}),
        ([{"": {"a/b": {"c~d": 1}}}], {"": {"a/b": {"c~d": 1}}}, {"//a~1b/c~0d": [0]}),
        ([{"a": False}, {"a": 0}], {"a": 0}, {"/a": [1, 0]}),
    ],
)
def test_layers_merge_by_the_rules(layers: list[Layer], merged: Layer, origin: dict[str, list[int]]) -> None:
    assert merge(layers) == merged
    assert origins(layers) == origin


def test_read_only_layers_merge_into_plain_objects() -> None:
    layer = MappingProxyType({"a": MappingProxyType({"x": 1})})
    merged = merge([layer, {"a": {"y": [MappingProxyType({"z": 2})]}}])
    assert merged == {"a": {"x": 1, "y": [{"z": 2}]}}
    assert type(merged["a"]) is dict
    assert type(merged["a"]["y"][0]) is dict


def leaves(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Scalars, lists and empty objects with their pointers, as the contract defines a leaf."""
    if isinstance(value, Mapping) and (value or not pointer):
        for key, item in value.items():
            yield from leaves(item, f"{pointer}/{escape_pointer(key)}")
    else:
        yield pointer, value


def at(layer: Layer, pointer: str) -> Any:
    value: Any = layer
    for token in pointer.split("/")[1:]:
        value = value[token.replace("~1", "/").replace("~0", "~")]
    return value


# Few keys and few values, so that the layers collide.
keys = st.sampled_from(["a", "b", "a/b", "~", ""])
objects = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
layer_lists = st.lists(st.dictionaries(keys, objects, max_size=4), max_size=5)


@given(layer_lists)
def test_every_leaf_has_origins_and_the_winner_holds_its_value(layers: list[Layer]) -> None:
    found = origins(layers)
    merged = dict(leaves(merge(layers)))
    assert found.keys() == merged.keys()
    for pointer, indexes in found.items():
        assert at(layers[indexes[0]], pointer) == merged[pointer]
        assert type(at(layers[indexes[0]], pointer)) is type(merged[pointer])


@given(layer_lists)
def test_origins_are_the_layers_that_set_the_leaf_from_the_top_down(layers: list[Layer]) -> None:
    for pointer, indexes in origins(layers).items():
        assert indexes == sorted(set(indexes), reverse=True)
        for index in indexes:
            at(layers[index], pointer)


@given(layer_lists)
def test_without_the_winner_another_origin_wins_or_the_leaf_is_gone(layers: list[Layer]) -> None:
    for pointer, [winner, *hidden] in origins(layers).items():
        rest = dict(leaves(merge([*layers[:winner], *layers[winner + 1 :]])))
        if hidden and not isinstance(at(layers[hidden[0]], pointer), dict):
            assert rest[pointer] == at(layers[hidden[0]], pointer)


@given(layer_lists)
def test_merging_layer_by_layer_gives_the_same_as_merging_all(layers: list[Layer]) -> None:
    step_by_step: Layer = {}
    for layer in layers:
        step_by_step = merge([step_by_step, layer])
    assert step_by_step == merge(layers)


@given(layer_lists)
def test_the_layers_are_neither_changed_nor_shared(layers: list[Layer]) -> None:
    before = copy.deepcopy(layers)
    overwrite(merge(layers))
    origins(layers)
    assert layers == before


def overwrite(value: Any) -> None:
    if isinstance(value, dict):
        for item in value.values():
            overwrite(item)
        value["overwritten"] = True
    elif isinstance(value, list):
        for item in value:
            overwrite(item)
        value.append("overwritten")
