"""The secret references of a service, resolved here only: `env://NAME`, `file:///path`, and what entry points add.

A text that is `${env:NAME}` and nothing else is the same as the first; inside a longer text it stays as it is. So with
the other spellings of `references`.

What a reference stands for is kept in memory alone, never written and never logged. A secret that cannot be had again
stays what it was.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from central_hub_client.binding import Problem, Refused
from central_hub_client.installed import installed
from central_hub_client.references import KEY, SPELLINGS, reference_uri
from central_hub_client.sources import environment
from central_hub_client.sources.files import fingerprint_of

logger = logging.getLogger("central_hub_client")

ENTRY_POINTS: Final = "central_hub_client.secrets"
TTL_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 30.0
RESOLVE_SECONDS: Final = 5.0
MAX_SECRET_BYTES: Final = 1024 * 1024

Resolver = Callable[[str], str]
"""Returns the secret that a URI stands for; raises anything. May block, for five seconds at most. Its attribute
`ttl_seconds`, if any, says how long an answer holds."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands in a configuration for a secret. Naming it gives nothing away."""

    uri: str


@dataclass(frozen=True, slots=True)
class _Known:
    text: str = field(repr=False)
    until: float
    fingerprint: object = None


def marked(values: Any) -> Any:
    """`values` with a Reference for each value that spells one. What has none in it is not copied."""
    if isinstance(values, str):
        uri = reference_uri(values)
        return values if uri is None else Reference(uri)
    if isinstance(values, Mapping):
        if len(values) == 1 and isinstance(text := values.get(KEY), str):
            # Whatever it is, it is meant as one: what nothing can resolve is refused later, by its place.
            return Reference(reference_uri(values) or text)
        # Told apart here already: a call for every number and text makes this several times as slow.
        inner = (
            (key, item)
            for key, item in values.items()
            if (item.startswith(SPELLINGS) if isinstance(item, str) else not isinstance(item, (int, float)))
        )
        altered = {key: new for key, item in inner if (new := marked(item)) is not item}
        return {**values, **altered} if altered else values
    if isinstance(values, list):
        items = [marked(item) for item in values]
        return items if any(new is not old for new, old in zip(items, values, strict=True)) else values
    return values


def unmarked(value: Any) -> Any:
    """`value` with each Reference spelled as in a document."""
    return {KEY: value.uri} if isinstance(value, Reference) else value


class Secrets:
    """Resolves references and remembers what they stand for, each for its own time. Not safe to share by threads."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def fill(self, values: Any) -> tuple[Any, frozenset[tuple[str, ...]]]:
        """`values` with the secrets in place of their references, and the paths of these. Raises Refused."""
        paths: set[tuple[str, ...]] = set()
        problems: list[Problem] = []
        filled = self._fill(values, (), paths, problems)
        if problems:
            raise Refused(problems)
        return filled, frozenset(paths)

    @property
    def are_in_use(self) -> bool:
        return bool(self._known)

    def have_moved_on(self) -> bool:
        """Whether a secret in use is now another one. Asked in the background: it may read and wait."""
        moved = False
        for uri, known in list(self._known.items()):
            path = _path_of(uri)
            is_due = known.until <= time.monotonic() if path is None else fingerprint_of(path) != known.fingerprint
            if not is_due:
                continue
            try:
                now = self._ask(uri)
            except _Unavailable as error:
                logger.warning("a secret cannot be read again, the last one stays: %s", error)
                now = _Known(known.text, time.monotonic() + RETRY_SECONDS, path and fingerprint_of(path))
            moved = moved or now.text != known.text
            self._known[uri] = now
        return moved

    def hidden_in(self, text: str) -> str:
        """`text` without any secret that was resolved."""
        for known in self._known.values():
            if known.text and known.text in text:
                text = text.replace(known.text, "**********")
        return text

    def _fill(self, value: Any, path: tuple[str, ...], paths: set[tuple[str, ...]], problems: list[Problem]) -> Any:
        if isinstance(value, Reference):
            paths.add(path)
            try:
                return self._text(value.uri)
            except _Unavailable as error:
                problems.append(Problem(path, str(error)))
                return None
        if isinstance(value, dict):
            return {key: self._fill(item, (*path, key), paths, problems) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item, (*path, str(index)), paths, problems) for index, item in enumerate(value)]
        return value

    def _text(self, uri: str) -> str:
        if uri not in self._known:
            self._known[uri] = self._ask(uri)
        return self._known[uri].text

    def _ask(self, uri: str) -> _Known:
        scheme = uri.partition("://")[0]
        if scheme == "env":
            name = uri.removeprefix("env://")
            text = environment.variables().get(name)
            if text is None:
                raise _Unavailable(f"{uri}: the variable is not set")
            return _Known(text, float("inf"))
        if (path := _path_of(uri)) is not None:
            fingerprint = fingerprint_of(path)  # before reading: what changes meanwhile is seen next time
            return _Known(_within_seconds(lambda: _read(path), uri), float("inf"), fingerprint)
        resolver = _resolver(scheme, uri)
        ttl = float(getattr(resolver, "ttl_seconds", TTL_SECONDS))
        return _Known(_within_seconds(lambda: resolver(uri), uri), time.monotonic() + ttl)


class _Unavailable(Exception):
    """A secret cannot be had now. The message names the reference and the kind of failure only."""


def _path_of(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_SECRET_BYTES + 1)
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError("too large for a secret")
    return content.decode().removesuffix("\n").removesuffix("\r")


def _resolver(scheme: str, uri: str) -> Resolver:
    for found in installed(ENTRY_POINTS):
        if found.name != scheme:
            continue
        try:
            resolver: Resolver = found.load()
        except Exception as error:  # noqa: BLE001 - importing what is not ours may raise anything
            logger.error("a resolver of secrets cannot be loaded: %s error=%s", found.value, type(error).__name__)
            raise _Unavailable(f"{uri}: its resolver cannot be loaded ({type(error).__name__})") from None
        return resolver
    raise _Unavailable(f"{uri}: nothing installed resolves {scheme!r} (entry points {ENTRY_POINTS})")


def _within_seconds(resolve: Callable[[], str], uri: str) -> str:
    """What `resolve` returns, in a thread that is left behind if it does not come back."""
    found: list[str] = []
    failed: list[str] = []

    def run() -> None:
        try:
            text = resolve()
        except Exception as error:  # noqa: BLE001 - what is not ours may raise anything
            # Only the class: its text is not ours, and could be anything.
            logger.debug("a secret was not resolved: error=%s", type(error).__name__)
            failed.append(type(error).__name__)
        else:
            if isinstance(text, str):
                found.append(text)
            else:
                failed.append("not text")

    thread = threading.Thread(target=run, name="central-hub secret", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    if found:
        return found[0]
    raise _Unavailable(f"{uri}: {failed[0] if failed else f'no answer within {RESOLVE_SECONDS:g} s'}")
