"""Credentials at the moment of use: a reference in, the value out, and no longer kept than it is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from central_hub.connections.plain_file import read_file
from central_hub_client.references import KEY

MAX_FILE_BYTES: Final = 64 * 1024


class CredentialMissing(ValueError):
    """A reference leads to nothing. The message names it, and never a value."""


class Credentials:
    """Where references lead: to the environment that the process was started with, and to files, which are read anew at
    every use, so that a rotated password counts at once."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def reveal(self, shape: Mapping[str, Any]) -> dict[str, Any]:
        """The same with a value in the place of every reference, at any depth. Raises CredentialMissing."""
        return {key: self._revealed(value) for key, value in shape.items()}

    def _revealed(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._value(value[KEY]) if KEY in value else self.reveal(value)
        if isinstance(value, list | tuple):
            return [self._revealed(item) for item in value]
        return value

    def _value(self, reference: str) -> str:
        scheme, _, rest = reference.partition("://")
        if scheme == "env":
            found = self._environment.get(rest)
            if not found:
                raise CredentialMissing(f"{reference}: the environment variable is not set")
            return found
        if scheme == "file":
            return _contents(reference)
        raise CredentialMissing(f"{reference}: only env:// and file:// can be resolved here")


def _contents(reference: str) -> str:
    """What a file holds, without the end of its last line, which editors and tools put there."""
    try:
        content = read_file(Path(unquote(urlsplit(reference).path)), MAX_FILE_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise CredentialMissing(f"{reference}: {error.strerror}") from None
    except ValueError:  # the bytes of the file would be in the error
        raise CredentialMissing(f"{reference}: the file is not UTF-8, or has no such name") from None
    if len(content) > MAX_FILE_BYTES:
        raise CredentialMissing(f"{reference}: the file is larger than {MAX_FILE_BYTES // 1024} KiB")
    if not (value := text.removesuffix("\n").removesuffix("\r")):
        raise CredentialMissing(f"{reference}: the file is empty")
    return value
