"""How a reference to a secret is spelled: one way in a stored document, several where people write one. Pure.

Stored and read is `{"$secret": "<scheme>://…"}`. Strings that other tools use for the same are taken where they are a
whole value: `${env:NAME}`, `ref+vault://…`, `op://…`, `{{resolve:secretsmanager:…}}`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

KEY: Final = "$secret"

SPELLINGS: Final = ("${env:", "ref+", "op://", "{{resolve:")
"""What a string begins with that spells a reference."""

_URI: Final = re.compile(r"[a-z][a-z0-9+.-]{0,31}://\S[^\r\n\0]*")
_ENVIRONMENT: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_.-]*)\}")
_OF_VALS: Final = re.compile(r"ref\+([a-z][a-z0-9-]{0,31})://(\S*[^\s+])\+?")
_RESOLVED: Final = re.compile(r"\{\{resolve:(secretsmanager|ssm|ssm-secure):([^\s{}]+)\}\}")
_AMAZON_NAME: Final = re.compile(r"(arn:(?:[^:]*:){5}[^:]+|[^:]+)(?::(.*))?")
_SCHEMES: Final = {"awssecrets": "aws-sm", "awsssm": "aws-ssm"}


def reference_uri(value: Any) -> str | None:
    """The URI of a reference, in whatever spelling; None for any other value."""
    if isinstance(value, str):
        return _spelled(value) if value.startswith(SPELLINGS) else None
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    inner = value.get(KEY)
    if not isinstance(inner, str):
        return None
    uri = _spelled(inner) or inner
    return uri if _URI.fullmatch(uri) else None


def normalised(value: Any) -> Any:
    """The document with every reference in the one spelling. What has none to change is not copied.

    Recursive: only for what is within the limit of depth.
    """
    if isinstance(value, str):
        uri = reference_uri(value)
        return value if uri is None else {KEY: uri}
    if isinstance(value, dict):
        if KEY in value and (uri := reference_uri(value)) is not None:
            return value if value[KEY] == uri else {KEY: uri}
        altered = {key: new for key, item in value.items() if (new := _normalised_item(item)) is not item}
        return {**value, **altered} if altered else value
    if isinstance(value, list):
        items = [_normalised_item(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _normalised_item(item: Any) -> Any:
    # Most values are text that spells nothing: told apart here, without a call for each of them.
    if isinstance(item, str):
        return normalised(item) if item.startswith(SPELLINGS) else item
    return normalised(item) if isinstance(item, (dict, list)) else item


def _spelled(text: str) -> str | None:
    if match := _ENVIRONMENT.fullmatch(text):
        return f"env://{match[1]}"
    if match := _OF_VALS.fullmatch(text):
        return f"{_SCHEMES.get(match[1], match[1])}://{match[2]}"
    if match := _RESOLVED.fullmatch(text):
        return _of_cloud_formation(match[1], match[2])
    return text if text.startswith("op://") and _URI.fullmatch(text) else None


def _of_cloud_formation(service: str, named: str) -> str | None:
    """A dynamic reference: `secretsmanager:ID:SecretString:KEY:STAGE:VERSION`, `ssm:NAME:VERSION`."""
    match = _AMAZON_NAME.fullmatch(named)
    if match is None:
        return None
    name, further = match[1], (match[2] or "").split(":")
    if service != "secretsmanager":
        return f"aws-ssm://{name}" + (f"?version={further[0]}" if further[0] else "")
    # All but the name may be left out, or be empty.
    _, key, stage, version = (further + [""] * 4)[:4]
    chosen = [f"{word}={text}" for word, text in (("stage", stage), ("version", version)) if text]
    return f"aws-sm://{name}" + (f"?{'&'.join(chosen)}" if chosen else "") + (f"#/{key}" if key else "")
