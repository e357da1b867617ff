"""ConfigManager without a hub: layers, typed values, what is refused, what is told of it."""

import dataclasses
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, field_validator

from central_hub_client import ConfigClient, ConfigManager, IncompleteConfig, SettingsChange, Source, keeper
from central_hub_client.errors import InvalidConfig
from central_hub_client.explain import HIDDEN
from central_hub_client.notifications import Subscriber
from central_hub_client.sources import Loaded
from central_hub_client.wire import Position
from tests.unit.client.installed import install
from tests.wire.waiting import until


class Operational(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    batch_size: int = Field(100, ge=1)
    label: str = "none"
    symbols: tuple[str, ...] = ("EURUSD",)


class Features(BaseModel):
    model_config = ConfigDict(frozen=True)
    backfill: bool = False
    words: str = "true"


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    operational: Operational = Operational()
    features: Features = Features()


class Needy(BaseModel):
    url: str
    retries: int
    name: str = "x"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CENTRAL_HUB_URL", "CENTRAL_HUB_TOKEN", "CENTRAL_HUB_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(keeper, "CHECK_SECONDS", 0.05)


def write(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text, encoding="utf-8")


def wait_until(condition: Any, within: float = 20.0) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within
        time.sleep(0.01)


def test_before_the_start_the_defaults_count_and_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "default.json", '{"operational": {"batch_size": 1}}')
    monkeypatch.setenv("ORDERS_OPERATIONAL__BATCH_SIZE", "2")
    threads = threading.active_count()
    manager = ConfigManager("orders", Settings, config_dir=tmp_path)
    assert manager.current == Settings()
    assert manager.status.source is Source.DEFAULTS
    assert threading.active_count() == threads


def test_layers_count_by_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "default.json", '{"a": 10, "b": 10, "c": 10, "d": 10, "list": [1, 2], "deep": {"x": 1, "y": 1}}')
    write(tmp_path, "orders.yaml", "b: 40\nc: 40\nd: 40\nlist: [3]\n")
    write(tmp_path, "production.toml", "c = 50\nd = 50\n[deep]\ny = 50\n")
    monkeypatch.setenv("ORDERS_D", "100")
    manager = ConfigManager("orders", config_dir=tmp_path, environment="production")
    with manager:
        assert manager.current == {
            "a": 10,
            "b": 40,
            "c": 50,
            "d": 100,
            "list": [3],
            "deep": {"x": 1, "y": 50},
        }
        assert manager.status.source is Source.FILES
        assert not manager.status.stale


def test_an_explicit_null_is_a_value(tmp_path: Path) -> None:
    write(tmp_path, "default.json", '{"a": {"b": 1}}')
    write(tmp_path, "orders.json", '{"a": null}')
    with ConfigManager("orders", config_dir=tmp_path) as manager:
        assert manager.get("a", 5) is None
        assert manager.get("a.b", 5) == 5


def test_values_are_typed_by_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "default.json", '{"operational": {"symbols": ["A", "B"]}}')
    monkeypatch.setenv("ORDERS_OPERATIONAL__BATCH_SIZE", "200")
    monkeypatch.setenv("ORDERS_OPERATIONAL__LABEL", "300")
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        assert manager.current.operational == Operational(batch_size=200, label="300", symbols=("A", "B"))
        assert manager.get("operational.symbols") == ("A", "B")
        assert manager["operational.label"] == "300"


def test_a_dataclass_is_a_schema_too(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Inner:
        size: int = 1

    @dataclasses.dataclass(frozen=True)
    class Outer:
        inner: Inner = dataclasses.field(default_factory=Inner)
        name: str = "x"

    write(tmp_path, "default.json", '{"inner": {"size": 2, "new": 1}}')
    with ConfigManager("orders", Outer, config_dir=tmp_path) as manager:
        assert manager.current == Outer(Inner(2))
        assert manager.get("inner.size") == 2
        assert manager.report().unknown == ("inner.new",)
        assert manager.report().defaulted == ("name",)


def test_a_key_for_the_next_build_stops_nobody(tmp_path: Path) -> None:
    write(tmp_path, "default.json", '{"operational": {"batch_size": 2, "next": 1}, "later": {"a": 1}}')
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        assert manager.current.operational.batch_size == 2
        assert manager.report().unknown == ("later.a", "operational.next")


def test_what_is_read_by_path_has_defaults_only_where_there_is_nothing() -> None:
    manager = ConfigManager("orders", Settings)
    assert manager.get("operational.batch_size", 5) == 100
    assert manager.get("operational.nothing", 5) == 5
    assert manager.get("operational.batch_size.deeper", 5) == 5
    assert manager.get("nothing") is None
    assert manager.get("") is None
    assert "operational.batch_size" in manager
    assert "operational.nothing" not in manager
    assert manager["operational"] is manager.current.operational
    with pytest.raises(KeyError):
        manager["operational.nothing"]


def test_a_section_is_always_as_it_is_now() -> None:
    manager = ConfigManager("orders", Settings)
    section = manager.section("operational")
    with manager.override({"operational.batch_size": 7}):
        assert section["batch_size"] == section.get("batch_size") == section.current.batch_size == 7
    assert section["batch_size"] == 100
    assert section.get("nothing", 3) == 3
    assert "label" in section
    assert manager.section("a").section("b").path == "a.b"


def test_a_feature_is_enabled_by_true_alone(tmp_path: Path) -> None:
    write(tmp_path, "default.json", '{"features": {"a": true, "b": false, "c": 1, "d": "true"}}')
    with ConfigManager("orders", config_dir=tmp_path) as manager:
        assert [name for name in "abcde" if manager.is_enabled(name)] == ["a"]


def test_without_a_model_the_configuration_cannot_be_altered(tmp_path: Path) -> None:
    write(tmp_path, "default.json", '{"a": {"list": [1, {"b": 2}]}}')
    with ConfigManager("orders", config_dir=tmp_path) as manager:
        found = manager.get("a.list")
        for alter in (
            lambda: found.append(1),
            lambda: found.__setitem__(0, 1),
            lambda: found.sort(),
            lambda: manager.current.__setitem__("a", 1),  # type: ignore[attr-defined]
            lambda: found[1].__setitem__("b", 3),
        ):
            with pytest.raises((TypeError, AttributeError)):
                alter()
        with pytest.raises(TypeError):
            found += [1]
        assert manager.get("a.list") == [1, {"b": 2}]
        copy = manager.current.to_dict()  # type: ignore[attr-defined]
        copy["a"]["list"].append(3)
        assert manager.current == {"a": {"list": [1, {"b": 2}]}}


def test_a_layer_that_the_model_refuses_is_left_out_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "default.json", '{"operational": {"label": "from the file", "batch_size": 0}}')
    write(tmp_path, "orders.json", '{"features": {"backfill": true}}')
    monkeypatch.setenv("ORDERS_OPERATIONAL__SYMBOLS", '["X"]')
    with caplog.at_level(logging.ERROR), ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        assert manager.current.features.backfill
        assert manager.current.operational == Operational(symbols=("X",))
        rejected = manager.status.rejected
        assert rejected is not None
        assert rejected.layer == str(tmp_path / "default")
        assert rejected.reason.startswith("operational.batch_size: ")
        assert manager.status.rejected_count == 1
        assert manager.status.error_code == "rejected"
        assert manager.report().reason == rejected.reason
    assert "operational.batch_size" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("default.json", '{\n "features": {"backfill": true},\n "operational": {\n  "label": "${env:A_LABEL}"}}', 4),
        ("default.yaml", "features: {backfill: true}\noperational:\n  label: ${env:A_LABEL}\n", 3),
        ("default.toml", "[features]\nbackfill = true\n[operational]\nlabel = '${env:A_LABEL}'\n", 4),
    ],
)
def test_a_file_may_name_a_variable_and_one_that_is_not_set_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, line: int
) -> None:
    write(tmp_path, name, text)
    monkeypatch.setenv("A_LABEL", "hunter2")
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        assert manager.current.operational.label == "hunter2"
        found = manager.explain("operational.label")
        assert (found.value, found.place) == (HIDDEN, f"{tmp_path}/{name}:{line}")
        assert "hunter2" not in str(found)
    monkeypatch.delenv("A_LABEL")
    write(tmp_path, "orders.json", '{"operational": {"batch_size": 7}}')
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        assert manager.current == Settings(operational=Operational(batch_size=7))
        rejected = manager.status.rejected
        assert rejected is not None
        assert rejected.reason == (
            f"operational.label: env://A_LABEL: the variable is not set ({tmp_path}/{name}:{line})"
        )


def test_a_refusal_names_every_place_that_it_is_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "default.json", '{\n "operational": {"batch_size": 0},\n "features": {"words": [\n  1]}}')
    monkeypatch.setenv("ORDERS_OPERATIONAL__SYMBOLS", "5")
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        reason = manager.status.rejected.reason if manager.status.rejected else ""
    assert f"({tmp_path}/default.json:2)" in reason
    assert "(ORDERS_OPERATIONAL__SYMBOLS)" in reason


def test_a_variable_that_the_model_refuses_does_not_shut_out_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "default.json", '{"operational": {"label": "from the file"}}')
    monkeypatch.setenv("ORDERS_OPERATIONAL__BATCH_SIZE", "many")
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        assert manager.current.operational == Operational(label="from the file")
        assert manager.status.rejected is not None
        assert manager.status.rejected.layer == "environment"


def test_a_file_that_changes_counts_and_one_that_breaks_does_not(tmp_path: Path) -> None:
    write(tmp_path, "default.json", '{"operational": {"batch_size": 1}}')
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        assert manager.current.operational.batch_size == 1
        write(tmp_path, "default.json", '{"operational": {"batch_size": 2}')
        wait_until(lambda: manager.status.error_code == "source_failed")
        assert str(tmp_path / "default.json") in (manager.status.error or "")
        assert manager.current.operational.batch_size == 1
        write(tmp_path, "default.json", '{"operational": {"batch_size": -3}}')
        wait_until(lambda: manager.status.error_code == "rejected")
        assert manager.current.operational.batch_size == 1
        write(tmp_path, "default.json", '{"operational": {"batch_size": 333}}')
        wait_until(lambda: manager.current.operational.batch_size == 333)
        assert manager.status.error is None
        (tmp_path / "default.json").unlink()
        wait_until(lambda: manager.current.operational.batch_size == 100)


def test_a_mounted_file_that_is_swapped_by_a_link_is_noticed(tmp_path: Path) -> None:
    for version in (1, 2):
        (tmp_path / f"v{version}").mkdir()
        write(tmp_path / f"v{version}", "default.json", f'{{"operational": {{"batch_size": {version}}}}}')
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "default.json").symlink_to("..data/default.json")
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        assert manager.current.operational.batch_size == 1
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        wait_until(lambda: manager.current.operational.batch_size == 2)


def test_values_that_come_from_nowhere_are_all_named(tmp_path: Path) -> None:
    manager = ConfigManager("orders", Needy, config_dir=tmp_path)
    for use in (lambda: manager.current.url, lambda: manager.explain(), lambda: list(manager.current)):
        with pytest.raises(IncompleteConfig) as caught:
            use()
        assert [finding.pointer for finding in caught.value.errors] == ["/url", "/retries"]
        assert "url" in str(caught.value)
        assert "retries" in str(caught.value)
    assert manager.get("name", "y") == "y"
    assert "retries" in (manager.report().reason or "")
    manager.start()
    assert manager.status.error_code == "incomplete_config"
    manager.stop()


def test_a_strict_manager_fails_fast_and_leaves_no_thread(tmp_path: Path) -> None:
    manager = ConfigManager("orders", Needy, config_dir=tmp_path, strict=True)
    with pytest.raises(IncompleteConfig) as caught:
        manager.start()
    assert {finding.pointer for finding in caught.value.errors} == {"/url", "/retries"}
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "central-hub keeper"])
    write(tmp_path, "default.json", '{"url": "x", "retries": 1}')
    with manager:
        assert manager.current.retries == 1


def test_values_that_come_late_make_it_complete(tmp_path: Path) -> None:
    with ConfigManager("orders", Needy, config_dir=tmp_path) as manager:
        write(tmp_path, "default.json", '{"url": "x", "retries": 1}')
        wait_until(lambda: "url" in manager)
        assert manager.current.url == "x"
        assert manager.status.error is None


@pytest.mark.parametrize("name", ["", "UPPER", "a b", "../etc", "history", "a" * 200, "a\n"])
def test_a_name_that_can_never_be_right_is_told_and_raises_nothing(name: str, tmp_path: Path) -> None:
    with ConfigManager(name, Settings, config_dir=tmp_path, central_hub_url="http://127.0.0.1:1") as manager:
        assert manager.current == Settings()
        assert manager.status.error_code == "invalid_settings"


def test_a_model_that_cannot_be_built_or_fails_raises_nothing() -> None:
    class Broken(BaseModel):
        later: "Undefined"  # type: ignore[name-defined]  # noqa: F821

    class Failing(BaseModel):
        size: int = Field(1, validate_default=True)

        @field_validator("size")
        @classmethod
        def _fail(cls, size: int) -> int:
            raise RuntimeError("hunter2")

    for model in (Broken, Failing):
        with ConfigManager("orders", model) as manager:
            with pytest.raises(IncompleteConfig) as caught:
                _ = manager.current.size  # type: ignore[attr-defined]
            assert "hunter2" not in str(caught.value)


class Custom:
    name = "consul"

    def __init__(self, values: Any) -> None:
        self.values = values
        self.version = 0

    def load(self) -> Mapping[str, Any] | Loaded:
        if isinstance(self.values, Exception):
            raise self.values
        return self.values  # type: ignore[no-any-return]

    def fingerprint(self) -> object:
        return self.version


def test_a_source_of_ones_own_counts_by_its_priority(tmp_path: Path) -> None:
    write(tmp_path, "default.json", '{"a": 10, "b": 10, "c": 10}')
    write(tmp_path, "orders.json", '{"b": 40, "c": 40}')
    manager = ConfigManager("orders", config_dir=tmp_path, environment="production")
    source = Custom(Loaded({"a": 45, "b": 45}, {"/a": "consul:a"}))
    manager.add_source(source)
    low = Custom({"a": 1, "low": 1})
    low.name = "low"
    manager.add_source(low, priority=1)
    with manager:
        assert manager.current == {"a": 45, "b": 45, "c": 40, "low": 1}
        assert manager.explain("a").place == "consul:a"
        source.values, source.version = {"a": 46}, 1
        wait_until(lambda: manager.get("a") == 46)
        assert manager.get("b") == 40
        for failure in (OSError("hunter2"), {"a": object()}, ["a"], RuntimeError("hunter2")):
            source.values, source.version = failure, source.version + 1
            wait_until(lambda: manager.status.error_code == "source_failed")
            assert "hunter2" not in str(manager.status)
            assert manager.get("a") == 46
            source.values, source.version = {"a": 46}, source.version + 1
            wait_until(lambda: manager.status.error is None)


def test_an_override_counts_within_its_block() -> None:
    manager = ConfigManager("orders", Settings)
    with manager.override({"operational.batch_size": 1, "features": {"backfill": True}}):
        assert manager.current.operational.batch_size == 1
        assert manager.is_enabled("backfill")
        with manager.override({"operational.batch_size": 2}):
            assert manager.current.operational.batch_size == 2
        assert manager.current.operational.batch_size == 1
        assert manager.explain("operational.batch_size").layer == "override 1"
    assert manager.current == Settings()


def test_who_subscribes_while_values_change_ends_with_the_last() -> None:
    class Interrupted(Subscriber[Settings]):
        """A change comes just before it takes in what it is told."""

        def tell(self, current: Settings, position: Position | None = None) -> None:
            if not began.is_set():
                began.set()
                change.__enter__()
            super().tell(current, position)

    manager = ConfigManager("orders", Settings, config_dir=None)
    change, began = manager.override({"operational.batch_size": 3}), threading.Event()
    told: list[SettingsChange[Settings]] = []
    manager._subscribe(Interrupted(told.append, "**", manager.current, manager._compare))
    assert manager.current.operational.batch_size == 3
    wait_until(lambda: bool(told) and told[-1].new.operational.batch_size == 3)


def test_an_override_that_the_model_refuses_changes_nothing() -> None:
    manager = ConfigManager("orders", Settings)
    with manager.override({"operational.label": "kept"}):
        with (
            pytest.raises(InvalidConfig, match=r"operational\.batch_size"),
            manager.override({"operational.batch_size": 0}),
        ):
            pytest.fail("it was taken")
        assert manager.current.operational == Operational(label="kept")
        assert manager.status.rejected is None
    assert manager.current == Settings()


def test_an_override_of_what_the_model_does_not_declare_is_refused() -> None:
    manager = ConfigManager("orders", Settings)
    with pytest.raises(InvalidConfig, match=r"operational\.batchsize"), manager.override({"operational.batchsize": 1}):
        pytest.fail("it was taken")
    assert manager.current == Settings()
    assert manager.report().unknown == ()


def test_of_an_override_that_sets_a_place_twice_the_later_counts_and_nothing_of_the_callers_is_altered() -> None:
    manager = ConfigManager("orders")
    operational = {"label": "ours"}
    with manager.override({"a": 1, "a.b": 2, "operational": operational, "operational.batch_size": 3}):
        assert (manager["a.b"], manager["operational.label"], manager["operational.batch_size"]) == (2, "ours", 3)
    assert operational == {"label": "ours"}


def test_a_root_model_is_read_and_explained_by_the_keys_of_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Limits(RootModel[dict[str, int]]):
        pass

    class Limited(BaseModel):
        limits: Limits = Limits({})

    write(tmp_path, "default.json", '{"limits": {"eu": 1}, "us": 2}')
    monkeypatch.setenv("ORDERS_LIMITS__US", "3")
    manager = ConfigManager("orders", Limited, config_dir=tmp_path)
    with manager:
        assert (manager.get("limits.eu"), manager["limits.us"]) == (1, 3)
        assert {path: found.place for path, found in manager.explain().items()} == {
            "limits.eu": f"{tmp_path / 'default.json'}:1",
            "limits.us": "ORDERS_LIMITS__US",
        }
        assert manager.report().defaulted == ()
    write(tmp_path, "default.json", '{"eu": 1}')
    with ConfigManager("orders", Limits, config_dir=tmp_path) as manager_of_a_root:
        assert manager_of_a_root.get("eu") == 1
        assert manager_of_a_root.explain("eu").layer == str(tmp_path / "default")


def test_every_value_tells_where_it_is_from_and_what_it_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "default.json", '{\n "operational": {\n  "batch_size": 10}}')
    write(tmp_path, "orders.yaml", "operational:\n  symbols: [A]\n\n  batch_size: 40\n")
    monkeypatch.setenv("ORDERS_OPERATIONAL__BATCH_SIZE", "200")
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        found = manager.explain("operational.batch_size")
        assert (found.value, found.layer, found.place) == (200, "environment", "ORDERS_OPERATIONAL__BATCH_SIZE")
        assert [(origin.value, origin.place) for origin in found.hidden] == [
            (40, f"{tmp_path}/orders.yaml:4"),
            (10, f"{tmp_path}/default.json:3"),
        ]
        assert manager.explain("operational.label").layer == "default"
        assert manager.explain("operational.symbols").value == ["A"]
        assert set(manager.explain()) == {
            "operational.batch_size",
            "operational.label",
            "operational.symbols",
            "features.backfill",
            "features.words",
        }
        whole = manager.explain("operational")
        assert [part.path for part in whole.parts] == [
            "operational.batch_size",
            "operational.label",
            "operational.symbols",
        ]
        assert "ORDERS_OPERATIONAL__BATCH_SIZE" in str(whole)
        with pytest.raises(KeyError):
            manager.explain("operational.nothing")


def test_the_report_says_what_is_used_and_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "default.json", '{"operational": {"batch_size": 10, "typo": 1}}')
    monkeypatch.setenv("ORDERS_FEATURES__BACKFILL", "true")
    monkeypatch.setenv("ORDERS_TYPO", "true")
    with ConfigManager("orders", Settings, config_dir=tmp_path) as manager:
        report = manager.report()
    assert report.unknown == ("operational.typo", "typo")
    assert report.shadowed == report.unread == ()
    assert report.defaulted == ("features.words", "operational.label", "operational.symbols")
    assert report.local_keys == ("features.backfill", "operational.batch_size")
    assert report.schema == Settings.model_json_schema()
    assert (report.schema_hash or "").startswith("sha256:")
    assert report.applied is report.rejected is report.reason is None


class Account(BaseModel):
    key: str = Field("hunter2", json_schema_extra={"x-secret": True})


class WithAccount(BaseModel):
    account: Account = Account()
    size: int = 7


def test_the_schema_that_is_reported_holds_no_default_where_a_secret_is_declared() -> None:
    manager = ConfigManager("orders", WithAccount, config_dir=None)
    schema = manager.report().schema
    assert schema is not None
    assert "hunter2" not in str(schema)
    assert "required" not in schema
    assert set(schema["properties"]) == {"account", "size"}


class Login(BaseModel):
    model_config = ConfigDict(frozen=True)
    user: str = ""
    password: SecretStr = SecretStr("")
    port: int = 1

    @field_validator("user")
    @classmethod
    def _check(cls, user: str) -> str:
        if user == "bad-hunter2":
            raise ValueError(f"{user} is not a user")
        return user


class WithSecret(BaseModel):
    model_config = ConfigDict(frozen=True)
    login: Login = Login()
    keys: tuple[SecretStr, ...] = ()


def test_a_secret_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "default.json", '{"login": {"password": "hunter2-low"}, "keys": ["hunter2-a"]}')
    write(tmp_path, "orders.json", '{"login": {"password": {"a": "hunter2-wrong"}}}')
    monkeypatch.setenv("ORDERS_LOGIN__PASSWORD", "hunter2-top")
    with caplog.at_level(logging.DEBUG), ConfigManager("orders", WithSecret, config_dir=tmp_path) as manager:
        assert manager.current.login.password.get_secret_value() == "hunter2-top"
        monkeypatch.delenv("ORDERS_LOGIN__PASSWORD")
        write(tmp_path, "default.json", '{"login": {"password": "hunter2-low", "user": "bad-hunter2"}}')
        wait_until(lambda: manager.status.rejected is not None)
        shown = [manager, manager.current, manager.explain(), manager.status, manager.report()]
        everything = " ".join(map(repr, shown)) + " ".join(map(str, manager.explain().values())) + caplog.text
    assert "hunter2" not in everything
    assert "login.user" in everything


def test_what_one_layer_keeps_as_a_reference_is_a_secret_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2-resolved")
    reference = '{"$secret": "env://A_SECRET"}'
    write(
        tmp_path, "default.json", f'{{"above": {reference}, "below": "hunter2-literal", "list": ["hunter2"], "a": 1}}'
    )
    write(tmp_path, "orders.json", f'{{"below": {reference}, "list": [1, {reference}], "a": 2}}')
    monkeypatch.setenv("ORDERS_ABOVE", "hunter2-variable")
    with ConfigManager("orders", config_dir=tmp_path) as manager:
        assert manager.get("above") == "hunter2-variable"
        assert manager.get("below") == "hunter2-resolved"
        explained = manager.explain()
        assert "hunter2" not in repr(explained) + "".join(map(str, explained.values())) + repr(manager.current)
        assert explained["above"].hidden[0].value == {"$secret": "env://A_SECRET"}
        assert explained["above"].place == "ORDERS_ABOVE"
        assert [origin.value for origin in explained["a"].hidden] == [1]


def test_reading_by_path_tells_which_values_are_read(tmp_path: Path) -> None:
    write(tmp_path, "default.json", '{"a": {"b": 1, "c": 2}, "d": [1]}')
    with ConfigManager("orders", config_dir=tmp_path) as manager:
        binding = manager._binding
        assert binding.reads == frozenset()
        manager.get("a.b")
        assert binding.reads == {("a", "b")}
        assert manager.current["a"]["c"] == 2
        list(manager.current.items())
        assert binding.reads == {("a", "b"), ("a", "c"), ("d",)}


def test_starting_and_stopping_again_works_and_twice_is_once(tmp_path: Path) -> None:
    manager = ConfigManager("orders", Settings, config_dir=tmp_path)
    manager.stop()
    for size in (1, 2):
        write(tmp_path, "default.json", f'{{"operational": {{"batch_size": {size}}}}}')
        manager.start()
        manager.start()
        wait_until(lambda: len([t for t in threading.enumerate() if t.name == "central-hub keeper"]) == 1)
        wait_until(lambda size=size: manager.current.operational.batch_size == size)
        manager.stop()
        manager.stop()
    assert manager.current.operational.batch_size == 2


def test_an_installed_source_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
class entry:
    name = "consul"
    priority = 55
    def __init__(self, service, environment):
        self.values = {"a": [service, environment]}
    def load(self):
        return self.values
"""
    install(tmp_path, monkeypatch, "central_hub_client.sources", "consul", code)
    install(tmp_path, monkeypatch, "central_hub_client.sources", "broken", "def entry(*_): raise RuntimeError")
    write(tmp_path, "production.json", '{"a": 50}')
    with ConfigManager("orders", config_dir=tmp_path, environment="production") as manager:
        assert manager.get("a") == ["orders", "production"]
        assert manager.explain("a").layer == "consul"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"central_hub_url": "hub:7000"}, "URL"),
        ({"central_hub_url": "http://127.0.0.1:1", "environment": "No Such"}, "environment"),
        ({"hub": ConfigClient("billing", "http://127.0.0.1:1")}, "billing"),
    ],
)
def test_a_hub_that_cannot_be_asked_is_told_and_the_files_count(
    arguments: dict[str, Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "default.json", '{"a": 1}')
    with ConfigManager("orders", config_dir=tmp_path, **arguments) as manager:
        assert manager.get("a") == 1
        assert manager.status.error_code == "invalid_settings"
        assert reason in (manager.status.error or "")
        assert reason in caplog.text


async def test_a_strict_manager_fails_fast_inside_an_event_loop_too(tmp_path: Path) -> None:
    manager = ConfigManager("orders", Needy, config_dir=tmp_path, strict=True)
    with pytest.raises(IncompleteConfig, match="retries"):
        async with manager:
            pytest.fail("it was entered")
    await manager.stop_async()
    await until(lambda: "central-hub keeper" not in [thread.name for thread in threading.enumerate()])
