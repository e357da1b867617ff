"""What keeps secrets out of documents: references in one spelling, credentials refused, suspicions told. Pure.

What a schema marks as a secret is refused with the schema's other findings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from central_hub.config.secrets import Credential, find_credentials
from central_hub.config.suspicions import suspicions
from central_hub.config.walk import containers, items, pointer
from central_hub.errors import Finding, SecretRejected, Warned
from central_hub.validation.schema import subschemas
from central_hub_client.references import KEY, SPELLINGS, reference_uri

OVERRIDE: Final = "secret:"
"""With the JSON Pointer of a credential behind it, the word in `allow` that lets it be stored."""

_MAX_LISTED: Final = 100
_VALUES_OF_A_SCHEMA: Final = ("const", "default", "enum")
_REFERENCE_LIKE: Final = (*SPELLINGS, "env://", "vault://", "aws-sm://", "aws-ssm://")

Config = dict[str, Any]


def check_secrets(proposed: Config, current: Config | None, allow: frozenset[str]) -> list[Finding]:
    """Raise SecretRejected for new credentials that nobody allowed: places and kinds, never the texts.

    Returns warnings. Credentials that stand in the current document are not refused again: somebody has answered for
    them, and whoever changes something else cannot.
    """
    found = find_credentials(proposed)
    if found and current is not None:
        found = find_credentials(proposed, beyond=current)
    refused = [_rejected(credential) for credential in found if f"{OVERRIDE}{credential.pointer}" not in allow]
    mistaken = list(islice(_mistaken_references(proposed), _MAX_LISTED))
    refused += [finding for finding in mistaken if finding.code == "secret_rejected"]
    _refuse(refused)
    warnings = [
        Finding(credential.pointer, Warned.ALLOWED_SECRET, f"is stored, as was asked for: {credential.kind}")
        for credential in found
    ]
    warnings += [finding for finding in mistaken if finding.code != "secret_rejected"]
    warnings += [
        Finding(
            place,
            Warned.SUSPECTED_SECRET,
            'has the name and the look of a secret: if it is one, store a reference, {"$secret": "env://NAME"}, and'
            " replace the secret, which is in the history now",
        )
        for place in suspicions(proposed, beyond=current)
    ]
    return warnings[:_MAX_LISTED]


def check_schema_secrets(schema: Config) -> None:
    """Raise SecretRejected for credentials among the values that a schema gives or demands.

    What it only says to people may have any shape: examples of a connection string are how one explains it.
    """
    valued = [
        (f"{place}/{keyword}", subschema[keyword])
        for place, subschema in subschemas(schema)
        for keyword in _VALUES_OF_A_SCHEMA
        if keyword in subschema
    ]
    found = []
    for credential in find_credentials([value for _, value in valued]):
        index, slash, rest = credential.pointer[1:].partition("/")
        found.append(_rejected(replace(credential, pointer=f"{valued[int(index)][0]}{slash}{rest}")))
    _refuse(found)


def _rejected(credential: Credential) -> Finding:
    return Finding(credential.pointer, "secret_rejected", f"looks like a credential: {credential.kind}")


def _refuse(findings: Sequence[Finding]) -> None:
    if findings:
        raise SecretRejected(
            "credentials do not live here: keep the value in the environment or a secrets manager and store a"
            ' reference, {"$secret": "env://NAME"}; nothing of this request was kept.'
            " What only looks like a credential is stored with its place in allow (secret:/pointer), a reason, and the"
            " verb force",
            errors=findings[:_MAX_LISTED],
        )


def _mistaken_references(document: Config) -> Iterator[Finding]:
    for container, way in containers(document):
        if isinstance(container, dict) and KEY in container and reference_uri(container) is None:
            yield _mistaken(container, pointer(way))
        for step, item in items(container):
            if isinstance(item, str) and step != KEY and item.startswith(_REFERENCE_LIKE):
                yield Finding(
                    pointer((way, step)),
                    Warned.NOT_A_REFERENCE,
                    'reads like a reference to a secret and is stored as text: a reference is {"$secret": "env://NAME"}',
                )


def _mistaken(container: Config, place: str) -> Finding:
    if len(container) == 1 and isinstance(container[KEY], str):
        # What stands where the name of a secret belongs is most likely the secret.
        return Finding(place, "secret_rejected", 'is no reference: {"$secret": …} takes a URI such as env://NAME')
    return Finding(
        place, Warned.NOT_A_REFERENCE, 'is stored as it is: a reference has the one key "$secret", with a URI'
    )
