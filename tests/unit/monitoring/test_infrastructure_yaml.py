"""infrastructure.yaml: what it says, and where what is wrong with it stands."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.monitoring.condition import ConditionKind
from central_hub.monitoring.infrastructure import Maintenance, Need, Section
from central_hub.monitoring.infrastructure_yaml import MOST_TOLD, WrongInfrastructure, read_infrastructure
from central_hub.monitoring.rules import ChannelType, Severity
from tests.unit.monitoring.infrastructure_text import DEFAULTS, ENVIRONMENT, EXAMPLE, SECRET, flaws, read
from tests.unit.monitoring.wrong_files import CACHE, WRONG


def test_the_example_is_read() -> None:
    found = read_infrastructure(EXAMPLE, ENVIRONMENT, DEFAULTS)
    database = found.components["postgresql"]
    assert database.section is Section.DATABASES
    assert database.connection == {
        "host": "127.0.0.1",
        "port": 5432,
        "database": "trading",
        "user": "trading",
        "password": {"$secret": "env://POSTGRES_PASSWORD"},
        "options": {"sslmode": "prefer"},
    }
    assert database.probe is not None
    assert (database.probe.kind, database.probe.options) == ("postgres", {"query": "SELECT 1"})
    assert found.components["feature-store"].depends_on == {"clickhouse": Need.REQUIRED, "dragonflydb": Need.OPTIONAL}
    assert found.services["polygon-historical-downloader"]["postgresql"] is Need.OPTIONAL
    assert found.maintenance == (
        Maintenance(
            frozenset({"clickhouse"}),
            datetime(2026, 12, 5, 22, tzinfo=UTC),
            datetime(2026, 12, 6, 2, tzinfo=UTC),
            "move to the new disks",
        ),
    )
    assert found.alerts.channels["on-call"].type is ChannelType.WEBHOOK
    assert found.alerts.channels["chat"].options == {"url": {"$secret": "env://ALERT_CHAT_URL"}}
    assert SECRET not in repr(found)


def test_a_rule_of_the_hub_is_changed_in_what_is_given_and_no_more() -> None:
    rules = read_infrastructure(EXAMPLE, ENVIRONMENT, DEFAULTS).alerts.rules
    assert rules["infrastructure-down"].notify == ("log", "on-call")
    assert rules["infrastructure-down"].for_seconds == 30
    assert rules["config-not-converged"].for_seconds == 300
    assert rules["config-not-converged"].kind is ConditionKind.CONFIG_NOT_CONVERGED
    broker = rules["slow-broker"]
    assert (broker.severity, broker.states, broker.names) == (Severity.WARNING, {"degraded"}, {"nats", "kafka"})


def test_the_example_names_at_its_top_every_variable_that_must_be_set() -> None:
    head, _, rest = EXAMPLE.decode().partition("\nversion:")
    named = set(re.findall(r"\b([A-Z][A-Z_]+)=\S", head)) - {"CENTRAL_HUB_INFRASTRUCTURE_FILE"}
    assert named == set(re.findall(r"\$\{([A-Z_]+)\}", rest)) == set(ENVIRONMENT)


def test_a_rule_can_be_turned_off_and_another_condition_replaces_all_of_the_one_before() -> None:
    off = read("alerts: {rules: {infrastructure-down: {enabled: false}}}").alerts.rules["infrastructure-down"]
    assert not off.is_enabled
    other = read("alerts: {rules: {infrastructure-down: {when: {audit_broken: true}}}}").alerts.rules
    assert other["infrastructure-down"].kind is ConditionKind.AUDIT_BROKEN


def test_an_empty_file_of_the_right_version_is_no_infrastructure() -> None:
    assert read("databases:\nservices:\nmaintenance:\nalerts:\n").components == {}


def test_a_component_that_is_not_probed_and_one_of_a_type_of_its_own() -> None:
    found = read(
        "endpoints:\n  a: {type: mainframe, probe: {enabled: false}}\n  b: {type: odd, probe: {kind: http, path: /}}"
    )
    assert found.components["a"].probe is None
    assert found.components["b"].probe is not None
    assert found.components["b"].probe.options == {"path": "/"}


@pytest.mark.parametrize(
    ("written", "environment", "meant"),
    [
        ("${X}", {"X": "5"}, "5"),
        ("${X:-d}", {}, "d"),
        ("${X:-d}", {"X": ""}, "d"),
        ("${X:-}", {}, ""),
        ("a${X}b${Y:-c}", {"X": "1"}, "a1bc"),
        ("$${X}", {"X": "1"}, "${X}"),
        ("$X $$ $", {"X": "1"}, "$X $$ $"),
        ("${X:-a:-b$c}", {}, "a:-b$c"),
    ],
)
def test_variables_are_filled_in(written: str, environment: dict[str, str], meant: str) -> None:
    found = read(f"{CACHE}, options: {{at: '{written}'}}}}", **environment)
    assert found.components["cache"].connection.get("options") == {"at": meant}


def test_what_comes_from_a_variable_has_the_type_that_belongs_there() -> None:
    text = "databases:\n  a: {type: redis, host: h, port: '${P}', labels: {n: '${P}'}, probe: {failures: '${F:-4}'}}"
    component = read(text, P="6379").components["a"]
    assert component.connection["port"] == 6379
    assert component.labels == {"n": "6379"}
    assert component.probe is not None
    assert component.probe.failures == 4


@pytest.mark.parametrize(("marked", "sentences"), WRONG, ids=[marked for marked, _ in WRONG])
def test_what_is_wrong_is_told_with_its_place(marked: str, sentences: list[str]) -> None:
    expected = [f"{place}: {sentence}" for place, sentence in zip(marks(marked), sentences, strict=True)]
    told = flaws(marked.replace("▸", ""))
    assert [line[: len(begin)] for line, begin in zip(told, expected, strict=True)] == expected


def marks(marked: str) -> Iterator[str]:
    """Where the marks are, in the text without them and behind the line with the version."""
    for number, line in enumerate(marked.splitlines(), start=2):
        for before, match in enumerate(re.finditer("▸", line)):
            yield f"line {number}, column {match.start() - before + 1}"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "line 1, column 1: the key `version` is missing"),
        (b"version: 2", "line 1, column 10: must be 1"),
        (b"- a", "line 1, column 1: the whole must be a mapping"),
        (b"version: 1\n" + b"#" * 1024 * 1024, "line 1, column 1: the file is larger than 1024 KiB"),
        (
            b"version: 1\ndatabases: {a: &x 1, b: *x}",
            "line 2, column 16: anchors are not taken\nline 2, column 25: alia",
        ),
    ],
)
def test_what_is_no_such_file_at_all_is_refused(content: bytes, found: str) -> None:
    with pytest.raises(WrongInfrastructure) as caught:
        read_infrastructure(content, {})
    assert str(caught.value).startswith(found)


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() -> None:
    told = flaws(
        "databases:\n  a: {type: redis, host: '${H}', port: x, depends_on: {b: required}}\n"
        "  b: {type: redis, host: h, prot: 1, port: 1, depends_on: {a: required}}\n"
        "services: {s: {c: required}}\nalerts: {rules: {r: {severity: bad, when: {}, summary: x}}}"
    )
    assert [line.partition(":")[0] for line in told] == [
        "line 3, column 26",
        "line 3, column 40",
        "line 3, column 56",
        "line 4, column 29",
        "line 5, column 16",
        "line 6, column 32",
        "line 6, column 43",
    ]


@pytest.mark.timeout(60)
def test_a_file_in_which_everything_is_wrong_is_refused_in_time_and_in_few_words() -> None:
    components = "".join(f"  c{number}-of-many: {{type: tcp, host: h, port: 1}}\n" for number in range(3000))
    services = "".join(f"  s{number}: {{d{number}-of-man: required}}\n" for number in range(3000))
    told = flaws(f"endpoints:\n{components}services:\n{services}")
    assert len(told) == MOST_TOLD + 1
    assert told[0].startswith("line 3004, column 8: there is no component `d0-of-man`")
    assert told[-1].startswith("there may be more")


def test_every_circle_is_told_with_all_who_are_in_it() -> None:
    needs = {"a": "b", "b": "c", "c": "a", "d": "e", "e": "d", "f": "a"}
    lines = [
        f"  {name}: {{type: tcp, host: h, port: 1, depends_on: {{{other}: optional}}}}" for name, other in needs.items()
    ]
    told = [line.partition("circle: ")[2] for line in flaws("\n".join(["endpoints:", *lines]))]
    assert told == ["a → b → c → a", "d → e → d"]


KEYS = (
    "version databases messaging endpoints services maintenance alerts channels rules type host port url brokers"
    " password options labels depends_on probe interval_seconds targets from until when notify $secret a b"
)
SCALARS = ["x", "${A}", "${B:-c}", "a://u:p@h", "{x}", "", 1, 70000, -0.5, True, None]
VALUES = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
def test_no_document_ends_in_anything_but_an_infrastructure_or_a_refusal(document: object) -> None:
    with suppress(WrongInfrastructure):
        read_infrastructure(json.dumps(document).encode(), {"A": "1"}, DEFAULTS)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_no_bytes_do_either(content: bytes) -> None:
    with suppress(WrongInfrastructure):
        read_infrastructure(b"version: 1\n" + content, {}, DEFAULTS)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_refusal_ever_says_a_value(data: st.DataObject) -> None:
    """Wherever a value of the example is replaced by a secret, or a variable holds one."""
    lines = EXAMPLE.decode().splitlines()
    at = data.draw(st.sampled_from([number for number, line in enumerate(lines) if ": " in line and "#" not in line]))
    key = lines[at].partition(": ")[0]
    written = data.draw(
        st.sampled_from([SECRET, f"[{SECRET}]", f"{{a: {SECRET}}}", "${S}", f"${{S:-{SECRET}}}", f"'{SECRET}"])
    )
    text = "\n".join([*lines[:at], f"{key}: {written}", *lines[at + 1 :]])
    try:
        found = read_infrastructure(text.encode(), ENVIRONMENT | {"S": SECRET}, DEFAULTS)
    except WrongInfrastructure as error:
        assert SECRET not in str(error)  # noqa: PT017 - most places take it, a few do not
    else:
        assert found
