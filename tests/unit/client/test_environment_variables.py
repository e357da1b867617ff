"""Which environment variables are a service's, and what they say."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from central_hub_client.declared import Shape
from central_hub_client.model_binding import ModelBinding
from central_hub_client.sources.environment import candidates, read


class Archive(BaseModel):
    timeout: int = 1


class Operational(BaseModel):
    batch_size: int = 100
    label: str = ""
    ratio: float | None = None
    symbols: tuple[str, ...] = ()
    is_on: bool = False
    mode: Literal["fast", "slow"] = "fast"
    level: Literal[1, 2] = 1
    anything: Any = None
    by_alias: int = Field(1, alias="camelCase")


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    operational: Operational = Operational()
    gap_detection: Archive = Archive()
    archive: Archive = Archive()


SHAPE = ModelBinding(Settings).shape


def values(environ: dict[str, str], shape: Shape | None = SHAPE, known: dict[str, Any] | None = None) -> Any:
    return read(candidates("orders", environ), shape, known or {}).values


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("BATCH_SIZE", "200", 200),
        ("LABEL", "200", "200"),
        ("LABEL", '{"a": 1}', '{"a": 1}'),
        ("RATIO", "0.5", 0.5),
        ("RATIO", "null", None),
        ("SYMBOLS", '["a", "b"]', ["a", "b"]),
        ("IS_ON", "true", True),
        ("IS_ON", "yes", "yes"),
        ("MODE", "slow", "slow"),
        ("LEVEL", "2", 2),
        ("ANYTHING", '{"a": 1}', {"a": 1}),
        ("ANYTHING", "plain", "plain"),
        ("BATCH_SIZE", "many", "many"),
    ],
)
def test_a_value_is_typed_by_the_schema_else_json_else_text(name: str, text: str, value: object) -> None:
    found = values({f"ORDERS_OPERATIONAL__{name}": text})["operational"][name.lower()]
    assert found == value
    assert type(found) is type(value)


def test_a_key_is_spelled_as_the_model_spells_it() -> None:
    assert values({"ORDERS_OPERATIONAL__CAMELCASE": "3"}) == {"operational": {"camelCase": 3}}


def test_a_section_may_be_given_whole_and_in_part() -> None:
    environ = {"ORDERS_OPERATIONAL": '{"batch_size": 1, "ratio": 2}', "ORDERS_OPERATIONAL__BATCH_SIZE": "3"}
    assert values(environ) == {"operational": {"batch_size": 3, "ratio": 2}}


def test_a_service_name_with_dashes_has_underscores_in_its_prefix() -> None:
    environ = {"POLYGON_HISTORICAL_DOWNLOADER_OPERATIONAL__BATCH_SIZE": "200"}
    found = read(candidates("polygon-historical-downloader", environ), None, {})
    assert found.values == {"operational": {"batch_size": 200}}
    assert found.places == {"/operational/batch_size": "POLYGON_HISTORICAL_DOWNLOADER_OPERATIONAL__BATCH_SIZE"}


def test_another_services_variables_are_not_swallowed() -> None:
    environ = {
        "ORDERS_ARCHIVE_TIMEOUT": "5",
        "ORDERS_ARCHIVE_OPERATIONAL__BATCH_SIZE": "7",
        "ORDERS_OPERATIONAL__BATCH_SIZE": "9",
        "ORDERSX_OPERATIONAL__BATCH_SIZE": "11",
    }
    for shape in (SHAPE, None):
        assert values(environ, shape) == {"operational": {"batch_size": 9}}
    archive = read(candidates("orders-archive", environ), None, {}).values
    assert archive == {"timeout": 5, "operational": {"batch_size": 7}}


def test_a_nested_key_is_never_the_other_services() -> None:
    environ = {"ORDERS_ARCHIVE__TIMEOUT": "5"}
    assert values(environ) == {"archive": {"timeout": 5}}
    assert values(environ, None) == {"archive": {"timeout": 5}}
    assert read(candidates("orders-archive", environ), None, {}).values == {}


def test_a_first_key_of_several_words_counts_where_it_is_known() -> None:
    environ = {"ORDERS_GAP_DETECTION__TIMEOUT": "5"}
    assert values(environ) == {"gap_detection": {"timeout": 5}}
    assert values(environ, None) == {}
    assert values(environ, None, {"gap_detection": {}}) == {"gap_detection": {"timeout": 5}}


def test_without_a_model_a_key_is_spelled_as_in_the_other_layers() -> None:
    known = {"rateLimits": {"per-second": 1}}
    assert values({"ORDERS_RATELIMITS__PER_SECOND": "2"}, None, known) == {"rateLimits": {"per-second": 2}}


@pytest.mark.parametrize("name", ["ORDERS_", "ORDERS___A", "ORDERS_A__", "orders_a", "Orders_A", "ORDERS"])
def test_what_does_not_follow_the_rule_is_not_taken(name: str) -> None:
    assert values({name: "1"}, None) == {}


def test_the_clients_own_settings_are_never_values() -> None:
    environ = {"CENTRAL_HUB_TOKEN": "hunter2", "CENTRAL_HUB_URL": "http://hub:7000", "CENTRAL_X": "1"}
    assert read(candidates("central-hub", environ), None, {}).values == {}
    assert read(candidates("central", environ), None, {}).values == {"x": 1}


def test_an_undeclared_key_of_one_word_is_kept_to_be_reported() -> None:
    assert values({"ORDERS_TYPO": "1"}) == {"typo": 1}
