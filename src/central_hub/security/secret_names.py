"""Names that announce a secret. Pure."""

import re
from functools import lru_cache
from typing import Final

_MAY_ANNOUNCE: Final = ("pass", "pwd", "secret", "token", "key", "cred", "auth", "cookie", "salt", "pepper")
_END_OF_NAME: Final = 48  # characters: the last two words decide, and a name may be much longer
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRETS: Final = frozenset(
    "password passwd passphrase passcode pwd pass secret token credential apikey accesskey secretkey privatekey"
    " authorization cookie salt pepper".split()
)
_KEYS_OF: Final = frozenset(
    "api secret private access signing signature encryption encrypting decryption master account auth authentication"
    " shared service session hmac jwt webhook license licence storage subscription client admin deploy ssh pgp gpg"
    " aes cipher app application functions ingestion write admin root developer integration".split()
)
_NO_SECRET_TOKENS: Final = frozenset(
    "next page previous continuation sync resume pad padding eos bos unk unknown mask masked sep cls stop special"
    " cancellation public image".split()
)


@lru_cache(maxsize=4096)
def announces_a_secret(name: str) -> bool:
    """Whether a value under this name would be a secret: `db_password`, `apiKey`; not `password_file`, `sort_key`."""
    name = name[-_END_OF_NAME:]
    lower = name.lower()
    if not any(hint in lower for hint in _MAY_ANNOUNCE):
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    last = words[-1] if words else ""
    if last not in _SECRETS and last != "pass":
        last = last.removesuffix("s")
    before = words[-2] if len(words) > 1 else ""
    if last == "key":
        return before in _KEYS_OF
    if last == "token":
        return before not in _NO_SECRET_TOKENS
    return last in _SECRETS
