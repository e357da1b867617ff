"""Where the hub is and with which token to speak to it: arguments, then the environment, then the data directory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from central_hub.data_directory import default_data_dir
from central_hub_client import client_settings
from central_hub_client.client_settings import is_loopback
from central_hub_client.errors import InvalidSettings
from central_hub_client.wire import DEFAULT_PORT

URL_FILE: Final = "hub.url"
"""In the data directory: where the hub that uses it listens. Written when it is ready, removed when it stops."""
TOKEN_FILE: Final = "admin.token"  # noqa: S105 - the name of a file
DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_PORT}"


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub to speak to, and how it was found: for whoever has to find out why it does not answer."""

    url: str
    url_from: str
    token: str | None = field(repr=False)
    token_from: str

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def find_hub(*, url: str | None, token_file: Path | None, data_dir: Path | None) -> Hub:
    """Settle which hub is meant. Raises InvalidSettings for what cannot be right."""
    told = client_settings.resolve(
        hub_url=url,
        token=None,
        environment=None,
        nats_url=None,
        enable_nats=False,
        cache_dir=None,
        instance_id=None,
    )
    for problem in told.problems:
        if problem.startswith(("the hub's URL", "the token")):
            raise InvalidSettings(problem)
    directory = data_dir or default_data_dir()
    noted = _read(directory / URL_FILE)
    if told.hub_url is not None:
        found, url_from = told.hub_url, "--url" if url else "CENTRAL_HUB_URL"
    elif noted:
        found, url_from = noted, str(directory / URL_FILE)
    else:
        found, url_from = DEFAULT_URL, "the default port: nothing else is named"
    token, token_from = told.token, "CENTRAL_HUB_TOKEN"
    if token_file is not None:
        token, token_from = _given_token(token_file), str(token_file)
    elif token is None:
        token, token_from = _local_token(directory, found, noted)
    return Hub(found, url_from, token, token_from)


def _local_token(directory: Path, url: str, noted: str) -> tuple[str | None, str]:
    # The admin token of this machine's hub must never be sent to another one.
    if url != noted and not is_loopback(urlsplit(url).hostname or ""):
        return None, ""
    path = directory / TOKEN_FILE
    return _read(path) or None, str(path)


def _given_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"the token file {path} cannot be read: {error}") from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidSettings(f"{path} does not hold a token")
    return token


def _read(path: Path) -> str:
    """The text of a file of the data directory; empty where there is none or it is not ours to read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
