"""Where a client's settings come from, and what becomes of wrong ones."""

from pathlib import Path
from typing import Any

import pytest

from central_hub_client.client_settings import ClientSettings, is_loopback, resolve


def resolved(environ: dict[str, str] | None = None, **arguments: Any) -> ClientSettings:
    nothing: dict[str, Any] = dict.fromkeys(
        ("hub_url", "token", "environment", "nats_url", "cache_dir", "instance_id"), None
    )
    return resolve(**(nothing | {"enable_nats": False} | arguments), environ=environ or {})


def test_what_is_left_out_comes_from_the_environment() -> None:
    settings = resolved(
        {
            "CENTRAL_HUB_URL": "https://hub:7000/",
            "CENTRAL_HUB_TOKEN": "secret-token",
            "CENTRAL_HUB_ENVIRONMENT": "staging",
            "CENTRAL_HUB_NATS_URL": "nats://a:4222, nats://b:4222",
            "CENTRAL_HUB_CACHE_DIR": "/cache",
            "CENTRAL_HUB_TRUSTED_KEYS": "A" * 43 + "=",
            "CENTRAL_HUB_SEED_FILE": "/seed.json",
        },
        enable_nats=True,
    )
    assert settings == ClientSettings(
        hub_url="https://hub:7000",
        token="secret-token",
        environment="staging",
        nats_servers=("nats://a:4222", "nats://b:4222"),
        cache_dir=Path("/cache"),
        trusted_keys=(b"\0" * 32,),
        seed_file=Path("/seed.json"),
        instance_id=None,
        problems=(),
    )


def test_an_argument_counts_more_than_the_environment() -> None:
    settings = resolved({"CENTRAL_HUB_URL": "http://one", "CENTRAL_HUB_TOKEN": "a"}, hub_url="http://two", token="b")
    assert (settings.hub_url, settings.token) == ("http://two", "b")


def test_nats_is_used_only_where_it_was_asked_for() -> None:
    environ = {"CENTRAL_HUB_NATS_URL": "nats://bus"}
    assert resolved(environ).nats_servers == ()
    assert resolved(environ, enable_nats=True).nats_servers == ("nats://bus",)
    assert resolved(nats_url="nats://mine").nats_servers == ("nats://mine",)


@pytest.mark.parametrize(
    "url",
    [
        "hub:7000",
        "ftp://hub",
        "http://",
        "http://user:password@hub",
        "http://hub:99999",
        "http://[::1",
        "http://hub/?token=x",
        "http://hub:0",
    ],
)
def test_a_wrong_url_is_left_out_and_named(url: str) -> None:
    settings = resolved(hub_url=url)
    assert settings.hub_url is None
    assert len(settings.problems) == 1
    assert "password" not in settings.problems[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"CENTRAL_HUB_TOKEN": "line\nbreak"},
        {"CENTRAL_HUB_TOKEN": "two words"},
        {"CENTRAL_HUB_TRUSTED_KEYS": "nonsense"},
    ],
)
def test_wrong_values_of_the_environment_are_left_out_and_named(wrong: dict[str, str]) -> None:
    settings = resolved({"CENTRAL_HUB_URL": "http://hub"} | wrong)
    assert (settings.token, settings.trusted_keys) == (None, ())
    assert len(settings.problems) == 1
    assert not any(value in settings.problems[0] for value in wrong.values())


def test_with_a_wrong_environment_nothing_but_the_safe_defaults_is_used() -> None:
    settings = resolved(
        {"CENTRAL_HUB_URL": "http://hub", "CENTRAL_HUB_ENVIRONMENT": "../prod", "CENTRAL_HUB_SEED_FILE": "/seed"}
    )
    assert (settings.hub_url, settings.cache_dir, settings.seed_file) == (None, None, None)
    assert settings.problems == ("'../prod' cannot name an environment",)


def test_secrets_are_not_in_the_repr() -> None:
    settings = resolved(hub_url="http://hub", token="hunter2", nats_url="nats://me:swordfish@bus")
    assert "hunter2" not in repr(settings)
    assert "swordfish" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "is_authentic"),
    [
        ("https://hub", True),
        ("http://localhost:7000", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:7000", True),
        ("http://hub", False),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_a_channel_is_authentic_over_tls_and_on_this_machine(url: str, is_authentic: bool) -> None:
    assert resolved(hub_url=url).is_channel_authentic is is_authentic


def test_a_name_that_looks_like_an_address_is_not_taken_for_this_machine() -> None:
    assert not is_loopback("127.0.0.1.example.com")
    assert is_loopback("127.9.9.9")
