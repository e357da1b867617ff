"""What is refused, what is warned of, and what passes: measured on tables, and held against the published figures."""

import json
import time
from collections import Counter
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

import central_hub
from central_hub.config.secret_check import check_secrets
from central_hub.config.secrets import Credential, find_credentials
from central_hub.config.suspicions import looks_random, suspicions
from central_hub.errors import SecretRejected, Warned
from central_hub.security.secret_names import announces_a_secret
from central_hub_client.references import normalised
from tests.unit.secret_cases import HARMLESS, MISSED, REFUSED, TOKENS, WARNED, Field, some
from tests.unit.test_secrets import POSITIVES, fleet_document

PAGE = Path(__file__).parents[2] / "docs/explanation/secrets.md"
NOBODY: frozenset[str] = frozenset()
CREDENTIAL = POSITIVES[0][1]


class Outcome(StrEnum):
    REFUSED = "refused"
    WARNED = "warned"
    PASSED = "passed"


def outcome(field: Field) -> Outcome:
    name, value = field
    try:
        warnings = check_secrets({"outer": {name: value}}, None, NOBODY)
    except SecretRejected:
        return Outcome.REFUSED
    return Outcome.WARNED if any(warning.code == Warned.SUSPECTED_SECRET for warning in warnings) else Outcome.PASSED


def ids(fields: list[Field]) -> list[str]:
    return [f"{number}-{name}" for number, (name, _) in enumerate(fields)]


@pytest.mark.parametrize(("kind", "text"), TOKENS, ids=[kind for kind, _ in TOKENS])
def test_a_token_of_a_service_is_found_with_its_kind(kind: str, text: str) -> None:
    assert find_credentials({"a": f"see {text}"}) == [Credential("/a", kind)]


@pytest.mark.parametrize("field", REFUSED, ids=ids(REFUSED))
def test_a_secret_with_a_shape_is_refused(field: Field) -> None:
    assert outcome(field) is Outcome.REFUSED


@pytest.mark.parametrize("field", WARNED, ids=ids(WARNED))
def test_a_random_value_under_a_name_that_announces_a_secret_is_warned_of(field: Field) -> None:
    assert outcome(field) is Outcome.WARNED


@pytest.mark.parametrize("field", HARMLESS, ids=ids(HARMLESS))
def test_what_is_no_secret_is_neither_refused_nor_warned_of(field: Field) -> None:
    assert outcome(field) is Outcome.PASSED


def test_the_published_figures_are_those_of_this_run() -> None:
    assert len(REFUSED) + len(WARNED) >= 60
    assert len(HARMLESS) >= 120
    secrets = Counter(map(outcome, [*REFUSED, *WARNED, *MISSED]))
    harmless = Counter(map(outcome, HARMLESS))
    figures = [
        f"| secrets | {secrets.total()} | {' | '.join(str(secrets[kind]) for kind in Outcome)} |",
        f"| look-alikes | {harmless.total()} | {' | '.join(str(harmless[kind]) for kind in Outcome)} |",
    ]
    page = PAGE.read_text()
    assert [line for line in figures if line not in page] == [], "put these lines into docs/explanation/secrets.md"


SAMPLE_DOCUMENTS = sorted((Path(central_hub.__file__).parent / "sample").glob("*.json"))


@pytest.mark.parametrize("path", SAMPLE_DOCUMENTS, ids=[path.stem for path in SAMPLE_DOCUMENTS])
def test_the_sample_documents_pass_without_a_word_and_untouched(path: Path) -> None:
    document = json.loads(path.read_text())
    assert normalised(document) is document
    assert check_secrets(document, None, NOBODY) == []


def refusals(proposed: Any, current: Any = None, allow: frozenset[str] = NOBODY) -> list[str]:
    with pytest.raises(SecretRejected) as caught:
        check_secrets(proposed, current, allow)
    assert CREDENTIAL not in repr(vars(caught.value))
    return [finding.pointer for finding in caught.value.errors]


def test_only_the_place_that_is_named_is_let_through_and_told() -> None:
    document = {"a": CREDENTIAL, "b": [f"{CREDENTIAL} again"]}
    assert refusals(document) == ["/a", "/b/0"]
    assert refusals(document, allow=frozenset({"secret:/a"})) == ["/b/0"]
    assert refusals(document, allow=frozenset({"secret:/", "secret:/b", "secret:/a/0", "removals"})) == ["/a", "/b/0"]
    warnings = check_secrets(document, None, frozenset({"secret:/a", "secret:/b/0"}))
    assert [(warning.pointer, warning.code) for warning in warnings] == [
        ("/a", "allowed_secret"),
        ("/b/0", "allowed_secret"),
    ]


def test_what_somebody_answered_for_does_not_stop_the_next_one() -> None:
    current = {"a": CREDENTIAL, "n": 1}
    assert check_secrets({"a": CREDENTIAL, "n": 2}, current, NOBODY) == []
    assert refusals({"a": CREDENTIAL + " ", "n": 2}, current) == ["/a"]
    assert refusals({"a": CREDENTIAL, "b": POSITIVES[5][1]}, current) == ["/b"]


def test_a_suspicion_is_told_once() -> None:
    current = {"database": {"password": some("abcdefgh0123456789", 24)}}
    assert suspicions(current) == ["/database/password"]
    assert suspicions({**current, "n": 1}, beyond=current) == []
    assert suspicions({"database": {"password": "0" + some("XYZ0123456789", 24)}}, beyond=current) != []


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        ({"$secret": "env://A"}, []),
        ({"$secret": "gcp-sm://projects/p/secrets/s"}, []),
        ({"$secret": "env://A", "default": "x"}, ["not_a_reference"]),
        ({"$secret": 5}, ["not_a_reference"]),
        ("env://A", ["not_a_reference"]),
        ("vault://secret/data/x#/y", ["not_a_reference"]),
        ("${env:A:-fallback}", ["not_a_reference"]),
        ("{{resolve:somewhere:else}}", ["not_a_reference"]),
        ("file:///var/lib/data", []),
        ("set ${env:A} first", []),
    ],
)
def test_what_only_reads_like_a_reference_is_told(value: Any, codes: list[str]) -> None:
    assert [warning.code for warning in check_secrets({"a": value}, None, NOBODY)] == codes


def test_a_reference_that_names_no_source_is_refused_because_it_may_be_the_secret() -> None:
    assert refusals({"a": [{"$secret": "hunter2"}]}) == ["/a/0"]
    assert refusals({"a": {"$secret": "postgres://hub:" + "letmein" + "@db/hub"}}) == ["/a/$secret"]


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("${env:POSTGRES_PASSWORD}", "env://POSTGRES_PASSWORD"),
        ("ref+vault://secret/data/billing#/password", "vault://secret/data/billing#/password"),
        ("ref+awssecrets://billing/db#/password", "aws-sm://billing/db#/password"),
        ("ref+gcpsecrets://acme/db+", "gcpsecrets://acme/db"),
        ("op://infrastructure/postgres/password", "op://infrastructure/postgres/password"),
        ("op://Our Team/postgres/password", "op://Our Team/postgres/password"),
        ("{{resolve:secretsmanager:billing/db:SecretString:password}}", "aws-sm://billing/db#/password"),
        ("{{resolve:secretsmanager:billing/db}}", "aws-sm://billing/db"),
        (
            "{{resolve:secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-a1:SecretString:pw:AWSPREVIOUS}}",
            "aws-sm://arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-a1?stage=AWSPREVIOUS#/pw",
        ),
        ("{{resolve:ssm-secure:/billing/db:3}}", "aws-ssm:///billing/db?version=3"),
        ({"$secret": "${env:A}"}, "env://A"),
        ({"$secret": "file:///run/secrets/x"}, "file:///run/secrets/x"),
    ],
)
def test_every_spelling_of_a_reference_becomes_the_one(written: Any, uri: str) -> None:
    document = {"a": [written], "b": {"c": written, "d": 1}}
    expected = {"a": [{"$secret": uri}], "b": {"c": {"$secret": uri}, "d": 1}}
    assert normalised(document) == expected
    assert normalised(expected) is expected
    assert check_secrets(expected, None, NOBODY) == []


def test_names_are_read_as_words() -> None:
    assert all(map(announces_a_secret, ["password", "PASSWORDS", "db-password", "dbPassword", "API_KEY", "x.apikey"]))
    assert not any(
        map(announces_a_secret, ["passwordFile", "keyboard", "sort_key", "tokenizer", "monkey", "author", ""])
    )


HOSTILE_DOCUMENTS: dict[str, Any] = {
    "25,000 passwords in a list": {"passwords": [some("abcdef0123456789", 30) for _ in range(25_000)]},
    "25,000 passwords by name": {f"password_{number}_password": f"{number}xQ7!mZ2p" for number in range(25_000)},
    "long passwords": {"password": "aB3" * 80_000, "token": "b" * 250_000, "api_key": "key_" * 60_000},
    "24,000 references": {f"k{number}": "${env:ABCD}" for number in range(24_000)},
    "24,000 false references": {f"k{number}": {"$secret": "x"} for number in range(24_000)},
    "references that almost end": {
        "a": [prefix + text * 60_000 for prefix, text in [
            ("${env:", "A"), ("ref+", "a"), ("ref+a://", "+"), ("op://", " "), ("{{resolve:secretsmanager:", ":"),
            ("{{resolve:secretsmanager:", "a:"), ("{{resolve:ssm:arn:", "a:"),
        ]]
    },
    "long names in many words": {f"{'aB' * 55}Key{number}": "x7" * 12 for number in range(7_000)},
}  # fmt: skip


def cpu_milliseconds(document: Any) -> float:
    """The least of three runs, in processor time: a busy machine must not fail the test."""
    durations = []
    for _ in range(3):
        before = time.process_time()
        with suppress(SecretRejected):
            check_secrets(normalised(document), None, NOBODY)
        durations.append((time.process_time() - before) * 1000)
    return min(durations)


@pytest.mark.parametrize("document", HOSTILE_DOCUMENTS.values(), ids=list(HOSTILE_DOCUMENTS))
def test_a_hostile_document_costs_no_more_than_its_size(document: Any) -> None:
    assert cpu_milliseconds(document) < 600  # of the order of 100; looking at everything takes seconds


def test_a_document_of_one_mebibyte_is_checked_within_a_quarter_of_a_second() -> None:
    assert cpu_milliseconds(fleet_document()) < 250


@pytest.mark.parametrize("size", [10, 1_000, 100_000])
def test_looking_for_randomness_ends_at_a_bound(size: int) -> None:
    assert looks_random(some("abcdefghijklmnopqrstuvwxyz0123456789", size)) is (20 <= size <= 512)
