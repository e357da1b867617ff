"""What a model declares: the rest is dropped at every depth, and named."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, RootModel, SecretStr, WithJsonSchema
from typing_extensions import TypedDict

from central_hub_client.declared import Shape
from central_hub_client.model_binding import ModelBinding


class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = 1


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    size: int = 1


class Tree(BaseModel):
    size: int = 1
    children: list["Tree"] = []


class Either(BaseModel):
    other: int = 1


class Typed(TypedDict, total=False):
    size: int


@dataclass
class Data:
    size: int = 1
    leaf: Leaf = field(default_factory=Leaf)


class Named(RootModel[dict[str, Leaf]]):
    pass


class Model(BaseModel):
    leaf: Leaf = Leaf()
    open: Open = Open()
    tree: Tree = Tree()
    leaves: list[Leaf] = []
    pair: tuple[Leaf, Either] | None = None
    by_name: dict[str, Leaf] = {}
    union: Leaf | Either | None = None
    union_open: Leaf | dict[str, Any] | None = None
    plain: dict[str, Any] = {}
    anything: Any = None
    typed: Typed = {}
    data: Data = Data()
    named: Named = Named({})
    odd: Annotated[object, WithJsonSchema({"type": "object"})] = None


SHAPE = ModelBinding(Model).shape or Shape({})


@pytest.mark.parametrize(
    ("values", "kept", "unknown"),
    [
        ({"new": 1}, {}, ("new",)),
        ({"new": {"a": {"b": 1}, "c": {}}}, {}, ("new.a.b", "new.c")),
        ({"leaf": {"size": 2, "new": 1}}, {"leaf": {"size": 2}}, ("leaf.new",)),
        ({"open": {"new": {"a": 1}}}, {"open": {"new": {"a": 1}}}, ()),
        (
            {"tree": {"children": [{"new": 1, "children": [{"size": 1, "new": 1}]}]}},
            {"tree": {"children": [{"children": [{"size": 1}]}]}},
            ("tree.children.0.children.0.new", "tree.children.0.new"),
        ),
        ({"leaves": [{"size": 1}, {"new": 1}]}, {"leaves": [{"size": 1}, {}]}, ("leaves.1.new",)),
        ({"pair": [{"size": 1, "new": 1}, {"other": 1}]}, {"pair": [{"size": 1}, {"other": 1}]}, ("pair.0.new",)),
        ({"by_name": {"x": {"size": 1, "new": 1}}}, {"by_name": {"x": {"size": 1}}}, ("by_name.x.new",)),
        ({"union": {"size": 1, "new": 1}}, {"union": {"size": 1}}, ("union.new",)),
        ({"union": {"other": 1, "new": 1}}, {"union": {"other": 1}}, ("union.new",)),
        ({"union_open": {"new": 1}}, {"union_open": {"new": 1}}, ()),
        (
            {"plain": {"new": {"a": 1}}, "anything": {"b": [1]}},
            {"plain": {"new": {"a": 1}}, "anything": {"b": [1]}},
            (),
        ),
        ({"typed": {"size": 1, "new": 1}}, {"typed": {"size": 1}}, ("typed.new",)),
        ({"data": {"leaf": {"new": 1}}}, {"data": {"leaf": {}}}, ("data.leaf.new",)),
        ({"named": {"x": {"new": 1}}}, {"named": {"x": {}}}, ("named.x.new",)),
        ({"odd": {"new": 1}}, {"odd": {"new": 1}}, ()),
        ({"leaf": 5, "leaves": {"a": 1}}, {"leaf": 5, "leaves": {"a": 1}}, ()),
        ({"leaf": {"size": {"new": 1}}}, {"leaf": {"size": {"new": 1}}}, ()),
    ],
)
def test_what_is_not_declared_is_dropped_and_named(
    values: dict[str, Any], kept: dict[str, Any], unknown: tuple[str, ...]
) -> None:
    fitted, left_out = SHAPE.fit(values)
    assert (fitted, tuple(".".join(path) for path in left_out)) == (kept, unknown)


class Spelled(BaseModel):
    model_config = ConfigDict(validate_by_name=True)
    size: int = Field(1, alias="theSize")
    kind: str = Field("", validation_alias=AliasChoices("kind", "type"))


def test_every_spelling_that_the_model_takes_is_one_key() -> None:
    shape = ModelBinding(Spelled).shape
    assert shape is not None
    assert shape.fit({"theSize": 1, "type": "x"}) == ({"theSize": 1, "kind": "x"}, ())
    assert shape.fit({"size": 1}) == ({"theSize": 1}, ())
    assert shape.fit({"size": 1, "theSize": 2}) == ({"theSize": 2}, ())


class Credentials(BaseModel):
    user: str = ""
    password: SecretStr | None = None
    keys: list[SecretStr] = []
    marked: Annotated[str, Field(json_schema_extra={"x-secret": True})] = ""


class Service(BaseModel):
    login: Credentials = Credentials()


@pytest.mark.parametrize(
    ("path", "is_secret"),
    [
        ("login.user", False),
        ("login.password", True),
        ("login.keys.0", True),
        ("login.keys", False),
        ("login.marked", True),
        ("login", False),
        ("nothing.like.it", False),
    ],
)
def test_a_secret_is_known_by_its_declaration(path: str, is_secret: bool) -> None:
    shape = ModelBinding(Service).shape
    assert shape is not None
    assert shape.has_secret(path.split(".")) is is_secret
    assert shape.has_any_secret
    assert not SHAPE.has_any_secret
