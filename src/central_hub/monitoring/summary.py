"""The sentence of a rule, into which an alert puts what it is about. Pure."""

import string
from typing import Final

from pydantic_core import PydanticCustomError

PLACEHOLDERS: Final = tuple("subject state environment reason since severity rule affected".split())


def check_summary(template: str) -> str:
    """The template. Raises PydanticCustomError unless each of its placeholders is one of PLACEHOLDERS, spelled plainly:
    an attribute or a format might reach anything, or fill the memory."""
    try:
        fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError:
        raise _refused("has a brace that stands alone: for the character itself write it twice") from None
    if any(name not in PLACEHOLDERS or form or conversion for _, name, form, conversion in fields):
        raise _refused(f"only knows {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}, spelled like that")
    return template


def _refused(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})
