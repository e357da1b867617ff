"""References to secrets, as values of a document. Pure."""

from collections.abc import Sequence
from typing import Any

from central_hub_client.references import reference_uri


def is_reference(value: Any) -> bool:
    """Whether a value stands for a secret that only the client resolves."""
    return reference_uri(value) is not None


def lies_in_a_reference(document: Any, path: Sequence[str | int]) -> bool:
    """Whether the value at `path`, or one around it, is a reference."""
    value = document
    if is_reference(value):
        return True
    for token in path:
        value = value[token]
        if is_reference(value):
            return True
    return False
