"""References to secrets, as values of a document. Pure."""

import re
from collections.abc import Sequence
from typing import Any, Final

_KEY: Final = "$secret"
_TEXT: Final = re.compile(r"\$\{env:[^{}]+\}|ref\+[a-z0-9-]+://\S+|op://\S+|\{\{resolve:[^{}]+\}\}")


def is_reference(value: Any) -> bool:
    """Whether a value stands for a secret that only the client resolves."""
    if isinstance(value, dict):
        return len(value) == 1 and isinstance(value.get(_KEY), str)
    return isinstance(value, str) and _TEXT.fullmatch(value) is not None


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
