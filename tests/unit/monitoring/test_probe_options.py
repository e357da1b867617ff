"""What the file may say of a probe, and of the connection that it uses."""

from typing import Any

import pytest

from central_hub.monitoring.component_types import TYPES
from central_hub.monitoring.probes.connection import Unusable, brokers, endpoint, read_connection
from central_hub.monitoring.probes.options import OPTIONS, HttpOptions, check_options


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_option_has_a_default_and_is_described(kind: str) -> None:
    assert check_options(kind, {}) == []
    assert all(field.description for field in OPTIONS[kind].model_fields.values())
    assert OPTIONS[kind].__doc__


def test_every_type_has_a_kind_that_exists() -> None:
    assert {known.probe for known in TYPES.values()} == set(OPTIONS)


@pytest.mark.parametrize(
    ("kind", "options", "path"),
    [
        ("postgres", {"querry": "SELECT 1"}, ("querry",)),
        ("postgres", {"query": ""}, ("query",)),
        ("postgres", {"verify": "no"}, ("verify",)),
        ("http", {"expect_status": [200, 999]}, ("expect_status", 1)),
        ("http", {"expect_status": "200"}, ("expect_status",)),
        ("http", {"expect_status": [True]}, ("expect_status", 0)),
        ("http", {"method": "POST"}, ("method",)),
        ("http", {"path": "ok"}, ("path",)),
        ("http", {"path": "/ok\r\nX: y"}, ("path",)),
        ("http", {"path": "/ok\n"}, ("path",)),
        ("http", {"method": "HEAD", "contains": "ok"}, ()),
        ("kafka", {"topics": [1]}, ("topics", 0)),
        ("kafka", {"min_brokers": 0}, ("min_brokers",)),
    ],
)
def test_a_wrong_option_is_refused_with_its_path(kind: str, options: dict[str, Any], path: tuple[str, ...]) -> None:
    assert [where for where, _ in check_options(kind, options)] == [path]


def test_an_unknown_option_is_told_what_there_is() -> None:
    [(_, sentence)] = check_options("kafka", {"topic": "ticks"})
    assert sentence == "is no option of the probe kafka; it has ca_file, min_brokers, topics, verify"


def test_the_options_of_somebody_elses_probe_are_his() -> None:
    assert check_options("lamp", {"color": "green"}) == []


def test_one_status_is_as_good_as_a_list() -> None:
    assert HttpOptions.model_validate({"expect_status": 204}).expect_status == (204,)


@pytest.mark.parametrize(
    ("connection", "found"),
    [
        ({"host": "db", "port": 5432}, ("db", 5432)),
        ({"url": "https://api.example/v1"}, ("api.example", 443)),
        ({"url": "http://[::1]:8500/health"}, ("::1", 8500)),
        ({"brokers": ["[::1]:9092", "k2:9092"]}, ("::1", 9092)),
    ],
)
def test_an_endpoint_is_found_in_each_shape(connection: dict[str, Any], found: tuple[str, int]) -> None:
    assert endpoint(read_connection(connection)) == found


@pytest.mark.parametrize(
    "connection",
    [
        {},
        {"host": "db"},
        {"url": "http://api:99999/"},
        {"url": "ftp://api"},
        {"brokers": ["hush"]},
        {"brokers": ["hush:0"]},
        {"host": 7, "port": 1},
        {"host": "db", "port": 1, "options": {"sslmode": "hush"}},
        {"host": "db", "port": 1, "password": {"$secret": "env://HUSH"}},
    ],
)
def test_what_no_probe_can_be_made_of_is_refused_without_its_value(connection: dict[str, Any]) -> None:
    with pytest.raises(Unusable) as caught:
        brokers(read_connection(connection))
    assert "hush" not in str(caught.value).lower()


def test_a_password_is_not_shown() -> None:
    assert "hush" not in repr(read_connection({"password": "hush", "token": "hush", "nkey": "hush"}))
