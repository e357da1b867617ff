"""What the values of infrastructure.yaml stand for: variables filled in, credentials by reference alone. Pure.

Where a credential belongs, the models say (`x-secret`); where keys are free, their names do. There `${NAME}` is not
filled in but becomes `{"$secret": "env://NAME"}`, which is resolved at the moment of use (`credentials.py`).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from central_hub.monitoring.fault import Fault, Path, guess, quoted
from central_hub.monitoring.file_format import CHANNELS, File
from central_hub.monitoring.infrastructure import Section
from central_hub.monitoring.variables import NAME, WrongVariable, filled_in, named_alone
from central_hub.security.credential_shapes import kind_of_credential
from central_hub.security.secret_names import announces_a_secret
from central_hub_client.declared import Shape
from central_hub_client.references import KEY
from central_hub_client.strict_yaml import plain

FILE: Final = Shape(File.model_json_schema())
_CHANNELS: Final = {kind: Shape(model.model_json_schema()) for kind, model in CHANNELS.items()}
_REFERENCE: Final = re.compile(rf"(?:env://(?P<variable>{NAME})|file:///[^\s\0]+)\Z")
_USER_IN_URL: Final = re.compile(r"://[^/?#\s]*@")
_PARAMETER: Final = re.compile(r"[?&;]([^=&;#\s]{1,200})=[^&;#\s]")
_ENDINGS: Final = ("password", "passwd", "passphrase", "secret", "nkey", "seed", "credentials")
_SHOWN: Final = frozenset(Section)
"""What every reader is told, and servers write to their logs."""
_RULE: Final = 'a credential is a reference, ${NAME} alone or {$secret: "env://NAME"} or {$secret: "file:///path"}'


def stand_for(document: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[dict[str, Any], list[Fault]]:
    """The document with its variables and references in it and without keys that nothing knows, and what is wrong."""
    reading = _Reading(environment)
    return reading.mapping(document, FILE, ()), reading.faults


class _Reading:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.faults: list[Fault] = []
        self._environment = environment

    def mapping(self, value: Mapping[str, Any], shape: Shape | None, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in value.items():
            here = (*path, key)
            if kind := kind_of_credential(key):
                self.faults.append(Fault(here, f"the key looks like a credential: {kind}", is_of_key=True))
                continue
            inner = None if shape is None else shape.child(key)
            if inner is None and shape is not None:
                sentence = f"{quoted(key)} is no key that stands here{guess(key, shape.keys)}"
                self.faults.append(Fault(here, sentence, is_of_key=True))
                continue
            found[key] = self._value(item, _narrowed(here, item, inner), here)
        return found

    def _value(self, value: Any, shape: Shape | None, path: Path) -> Any:
        if isinstance(value, list) and value and shape is not None and shape.items.is_secret:
            return [self._credential(item, (*path, number)) for number, item in enumerate(value)]
        if _is_credential(value, shape, path):
            return self._credential(value, path)
        if isinstance(value, dict):
            return self.mapping(value, shape, path)
        if isinstance(value, list):
            inner = None if shape is None else shape.items
            return [self._value(item, inner, (*path, number)) for number, item in enumerate(value)]
        return self._text(value, shape, path) if isinstance(value, str) else value

    def _text(self, text: str, shape: Shape | None, path: Path) -> Any:
        try:
            filled = filled_in(text, self._environment)
        except WrongVariable as error:
            self.faults.append(Fault(path, str(error)))
            return text
        if any(_USER_IN_URL.search(each) for each in (text, filled)):
            self.faults.append(Fault(path, f"a URL must not have a user or a password in it: {_RULE}"))
        elif path[0] in _SHOWN and any(map(announces_a_secret, _PARAMETER.findall(filled))):
            self.faults.append(Fault(path, "a credential must not be in a query, which is shown: send it in a header"))
        elif kind := kind_of_credential(text) or kind_of_credential(filled):
            self.faults.append(Fault(path, f"looks like a credential ({kind}): {_RULE}"))
        elif not _is_unicode(filled):
            self.faults.append(Fault(path, "the environment variable is not UTF-8"))
        elif filled != text and shape is not None and not (shape.takes_text or shape.takes_anything):
            return _typed(filled)  # a port, for example
        return filled

    def _credential(self, value: Any, path: Path) -> Any:
        name = named_alone(value) if isinstance(value, str) else None
        uri = f"env://{name}" if name else value.get(KEY) if isinstance(value, dict) and len(value) == 1 else None
        match = _REFERENCE.match(uri) if isinstance(uri, str) else None
        if match is None:
            self.faults.append(Fault(path, f"{_RULE}; what stands here is none"))
        elif match["variable"] and not self._environment.get(match["variable"]):
            self.faults.append(Fault(path, f"the environment variable {match['variable']} is not set"))
        return {KEY: uri if match else ""}


def _narrowed(path: Path, value: Any, shape: Shape | None) -> Shape | None:
    """What a channel may have depends on its type."""
    if path[:2] == ("alerts", "channels") and len(path) == 3 and isinstance(value, dict):
        kind = value.get("type")
        return _CHANNELS.get(kind, shape) if isinstance(kind, str) else shape
    return shape


def _is_credential(value: Any, shape: Shape | None, path: Path) -> bool:
    if isinstance(value, dict) and KEY in value:
        return True
    if shape is not None and shape.is_secret:
        return True
    is_free = shape is None or shape.takes_anything
    return is_free and not isinstance(value, bool | dict) and _announces(path)


def _announces(path: Path) -> bool:
    """Whether the last key on the way announces a credential; lists stand between it and their items."""
    name = next(step for step in reversed(path) if isinstance(step, str))
    return announces_a_secret(name) or name.lower().endswith(_ENDINGS)


def _typed(text: str) -> Any:
    try:
        return plain(text)
    except ValueError:
        return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
