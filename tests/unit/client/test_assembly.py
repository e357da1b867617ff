"""Which layers count when the model refuses some of what is offered."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, model_validator

from central_hub_client.assembly import HUB, Assembly, Layer, Snapshot
from central_hub_client.model_binding import ModelBinding
from central_hub_client.secret_references import Secrets
from central_hub_client.sources import Loaded
from central_hub_client.sources.environment import Variable, candidates
from tests.unit.client.objects import config_object


class Range(BaseModel):
    model_config = ConfigDict(frozen=True)
    low: int = 0
    high: int = 10

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    size: int = 1
    name: str = "x"
    range: Range = Range()


class Needy(BaseModel):
    from_file: int
    from_environment: int
    size: int = 1


class Layers:
    """An assembly, and what it makes of each offer."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.assembly: Assembly[Any] = Assembly(ModelBinding(model), Secrets())
        self.value: Any = None

    def offer(self, name: str, values: dict[str, Any], priority: int = 10) -> Any:
        received = config_object(1, values) if name == HUB else None
        self.assembly.offer(name, 60 if name == HUB else priority, Loaded(values), received)
        return self.assemble()

    def environment(self, **variables: str) -> Any:
        self.assembly.offer_environment(candidates("orders", {f"ORDERS_{k}": v for k, v in variables.items()}))
        return self.assemble()

    def withdraw(self, name: str) -> Any:
        self.assembly.withdraw(name)
        return self.assemble()

    def assemble(self) -> Any:
        snapshot = self.assembly.assemble()
        self.value = self.value if snapshot is None else snapshot.value
        return self.value

    @property
    def rejected(self) -> set[str]:
        return set(self.assembly.rejections)


def test_a_refused_layer_stays_what_it_was_and_the_news_of_others_count() -> None:
    layers = Layers(Settings)
    layers.offer("file", {"name": "one"})
    layers.offer(HUB, {"size": 2})
    layers.offer(HUB, {"size": "many"})
    assert (layers.value, layers.rejected) == (Settings(size=2, name="one"), {HUB})
    assert layers.offer("file", {"name": "two"}) == Settings(size=2, name="two")
    assert layers.rejected == {HUB}
    assert layers.offer(HUB, {"size": 3}) == Settings(size=3, name="two")
    assert not layers.rejected
    assert layers.assembly.rejected == 1


def test_a_refused_value_that_is_hidden_harms_nobody() -> None:
    layers = Layers(Settings)
    layers.offer("file", {"size": "many"})
    assert layers.rejected == {"file"}
    assert layers.offer(HUB, {"size": 2}) == Settings(size=2)
    assert not layers.rejected


def test_several_bad_layers_are_each_left_out() -> None:
    layers = Layers(Settings)
    layers.environment(SIZE="many")
    layers.offer("file", {"name": "good"})
    layers.offer(HUB, {"size": "worse", "range": 5})
    assert (layers.value, layers.rejected) == (Settings(name="good"), {HUB, "environment"})


def test_layers_that_are_valid_only_together_are_taken_together() -> None:
    layers = Layers(Settings)
    layers.offer(HUB, {"range": {"low": 20}})
    assert (layers.value, layers.rejected) == (Settings(), {HUB})
    assert layers.offer("file", {"range": {"high": 30}}).range == Range(low=20, high=30)
    assert not layers.rejected


def test_a_rule_over_several_values_blames_who_brought_news() -> None:
    layers = Layers(Settings)
    layers.offer("file", {"range": {"high": 30}})
    layers.offer(HUB, {"range": {"low": 20}})
    layers.offer("file", {"range": {"high": 15}})
    assert (layers.value.range, layers.rejected) == (Range(low=20, high=30), {"file"})


def test_what_is_only_not_enough_yet_is_not_refused() -> None:
    layers = Layers(Needy)
    layers.offer(HUB, {"size": 2})
    layers.offer("file", {"from_file": 1})
    assert layers.value is None
    assert not layers.rejected
    assert [problem.path for problem in layers.assembly.incomplete] == [("from_environment",)]
    assert layers.environment(FROM_ENVIRONMENT="3") == Needy(from_file=1, from_environment=3, size=2)
    assert layers.assembly.incomplete == ()


def test_a_bad_layer_does_not_keep_what_is_required_from_the_others() -> None:
    layers = Layers(Needy)
    layers.offer("file", {"from_file": 1})
    layers.offer(HUB, {"size": "many"})
    layers.environment(FROM_ENVIRONMENT="3")
    assert (layers.value, layers.rejected) == (Needy(from_file=1, from_environment=3), {HUB})


def test_a_hub_that_takes_away_what_is_required_is_refused() -> None:
    layers = Layers(Needy)
    layers.environment(FROM_ENVIRONMENT="3")
    layers.offer(HUB, {"from_file": 1, "size": 2})
    layers.offer(HUB, {"size": 3})
    assert (layers.value, layers.rejected) == (Needy(from_file=1, from_environment=3, size=2), {HUB})
    assert "from_file" in layers.assembly.rejections[HUB].reason


def test_a_source_that_is_gone_is_kept_while_it_is_required() -> None:
    layers = Layers(Needy)
    layers.environment(FROM_ENVIRONMENT="3")
    layers.offer("file", {"from_file": 1})
    assert layers.withdraw("file") == Needy(from_file=1, from_environment=3)


def test_a_secret_that_cannot_be_had_leaves_its_layer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(Settings)
    layers.offer("file", {"size": 5})
    layers.offer(HUB, {"name": {"$secret": "env://NOBODY_SET_THIS"}})
    assert (layers.value, layers.rejected) == (Settings(size=5), {HUB})
    monkeypatch.setenv("NOBODY_SET_THIS", "now it is")
    assert layers.assemble() == Settings(size=5, name="now it is")


def test_a_layer_offered_again_counts_in_its_old_place() -> None:
    layers = Layers(Settings)
    layers.offer("a", {"size": 1})
    layers.offer("b", {"size": 2})
    assert layers.offer("a", {"size": 3}).size == 2


def test_no_layer_and_no_snapshot_shows_a_value() -> None:
    loaded = Loaded({"password": "hunter2"})
    layer = Layer("files", 1, loaded.values, variables=(Variable("PILOT_PASSWORD", ("PASSWORD",), "hunter2"),))
    shown = repr((loaded, layer, Snapshot({"password": "hunter2"}, (layer,), frozenset(), {"password": "hunter2"})))
    assert "PILOT_PASSWORD" in shown
    assert "hunter2" not in shown
