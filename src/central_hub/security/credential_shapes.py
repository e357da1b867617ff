"""The shapes of credentials that can be told from ordinary text without guessing. Pure.

Precision comes first: a false alarm stops somebody's deployment, and a secret without a shape of its own is left to the
warning about suspicious names. So a shape has a prefix, a checksum or a structure that nothing else has, and
placeholders (`${VAR}`, `<password>`, `***`) are never credentials.

Two rules keep a search linear and fast however hostile the text is. A pattern begins with a literal: `re` looks for it
at the speed of a string search, and what must stand before it is a look-behind after it. A repetition without an upper
bound can begin at only one place of a run. NUL separates texts that are searched together: no pattern matches it.
"""

import base64
import binascii
import json
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of credential: how it is spelled, and what rules out text that is only spelled like it."""

    kind: str
    pattern: re.Pattern[str]
    is_real: Callable[[re.Match[str]], bool] | None = None


def _has_letter_and_digit(match: re.Match[str]) -> bool:
    token = match[1]
    return any(character.isdigit() for character in token) and any(character.isalpha() for character in token)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return b""


def _is_jwt(match: re.Match[str]) -> bool:
    decoded = _decoded(match[1])
    if b'"alg"' not in decoded:  # far cheaper than parsing
        return False
    try:
        header = json.loads(decoded)
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header


def _is_nkey_seed(match: re.Match[str]) -> bool:
    seed = base64.b32decode(match[0] + "======")
    return binascii.crc_hqx(seed[:-2], 0) == int.from_bytes(seed[-2:], "little")


def _encloses_private_key(match: re.Match[str]) -> bool:
    return b" PRIVATE KEY" in _decoded(match[0][: len(match[0]) // 4 * 4])


def _is_basic_authorization(match: re.Match[str]) -> bool:
    user, colon, password = _decoded(match[1]).partition(b":")
    return bool(colon and password) and all(0x20 <= byte < 0x7F for byte in user + password)


def _is_url_password(match: re.Match[str]) -> bool:
    user, password = match[1], match[2]
    is_port = password.isdecimal() and len(password) <= 5 and ("." in user or user == "localhost")
    is_form = user.lower() in _USER_WORDS and password.lower() in _PASSWORD_WORDS
    return not is_port and not is_form and not _is_placeholder(password)


def _is_connection_password(match: re.Match[str]) -> bool:
    # A lone `password=…` may be prose; in a connection string or a query other fields stand beside it.
    before = match.string[max(0, match.start() - 160) : match.start()].rpartition("\0")[2]
    after = match.string[match.end() : match.end() + 160].partition("\0")[0]
    fields_before = before.rstrip(string.ascii_letters + " ")  # without the name of the password field itself
    is_in_a_list = fields_before.endswith(("?", "&", ";")) or "=" in fields_before or "=" in after
    return is_in_a_list and not _is_placeholder(match[1]) and _NAME_OF_A_PASSWORD.fullmatch(match[1]) is None


def _is_placeholder(value: str) -> bool:
    return ("{" in value and "}" in value) or _PLACEHOLDER.fullmatch(value) is not None


# `user:password@`, as manuals write it: words that say what belongs there.
_USER_WORDS: Final = frozenset({"user", "username"})
_PASSWORD_WORDS: Final = frozenset({"password", "passwd", "pass"})
_NAME_OF_A_PASSWORD: Final = re.compile(r"(?:[A-Z][a-z]{1,20}){0,3}Password")
_PLACEHOLDER: Final = re.compile(
    r"\*+|[xX]{3,}|\.{3,}|…|•+"  # ***, xxx, ...
    r"|%[sdv]|%\([A-Za-z0-9_]+\)s|%[A-Za-z0-9_]+%"  # %s, %(name)s, %NAME%
    r"|\$[A-Z_][A-Z0-9_]*|\$\([A-Za-z0-9_]+\)"  # $NAME, $(NAME)
    r"|<.*|\[[A-Za-z _-]+\]|@Microsoft\.KeyVault\(.*"  # <password>, [redacted]
    r"|(?i:required|optional|redacted|masked|hidden|none|null|true|false|string)"
)


def _shape(kind: str, prefix: str, rest: str, is_real: Callable[[re.Match[str]], bool] | None = None) -> Shape:
    """A token that begins with `prefix` (a pattern of fixed length), is not the tail of a word and not `xxxxxxxx`."""
    return Shape(kind, re.compile(rf"{prefix}(?<![A-Za-z0-9]{prefix})(?![xX]{{8}}){rest}"), is_real)


# The first shape that fits a text names its kind, so specific ones stand before general ones.
SHAPES: Final = (
    Shape(
        "private key (PEM)",
        re.compile(
            r"BEGIN (?:[A-Z0-9]{1,12} ){0,3}(?:PRIVATE KEY(?: BLOCK)?|NKEY SEED)[- ]{4,6}"
            r"(?:\s|\\[nrt])*+(?:[A-Za-z0-9+/]{16}|[A-Z][A-Za-z-]{3,20}: )"
        ),
    ),
    _shape("private key (PEM in base64)", "LS0tLS1CRUdJTi", r"[A-Za-z0-9+/]{30,58}", _encloses_private_key),
    _shape("private key (PuTTY)", "PuTTY-User-Key-File-", r"[0-9]: [a-z]"),
    _shape("age secret key", "AGE-SECRET-KEY-", r"(?:PQ-)?1[A-Z0-9]{50}"),
    _shape("NATS seed", "S[AUO]A", r"[A-Z2-7]{55}(?![A-Za-z0-9])", _is_nkey_seed),
    _shape("Central Hub token", "chub_", r"[A-Za-z0-9_-]{43}"),
    _shape("AWS access key", "A[KS]IA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _shape("GitHub token", "gh[pousr]_", r"[A-Za-z0-9]{30}"),
    _shape("GitHub token", "github_pat_", r"[A-Za-z0-9_]{22}"),
    _shape("GitLab token", "gl(?:pat|ptt|cbt|rtr)-", r"[A-Za-z0-9_-]{20}"),
    _shape("GitLab token", "gl(?:dt|rt|ft)-", r"[A-Za-z0-9_-]{20}"),
    _shape("GitLab token", "glsoat-", r"[A-Za-z0-9_-]{20}"),
    _shape("Slack token", "xox[abeoprs]-", r"[A-Za-z0-9]{1,64}-[A-Za-z0-9-]{8}"),
    _shape("Slack token", "xapp-", r"[0-9]-[A-Z0-9]{8,16}-[0-9]{8}"),
    _shape("Slack webhook", r"hooks\.slack\.com/", r"(?:services|workflows|triggers)/[A-Z0-9]{6,16}/[A-Za-z0-9/]{16}"),
    Shape("Discord webhook", re.compile(r"/api/webhooks/[0-9]{15,20}/[A-Za-z0-9_-]{50}")),
    Shape(
        "Stripe key",
        re.compile(r"k_(?:live|test)_(?<=(?<![A-Za-z0-9])[sr]k_(?:live|test)_)(?![xX]{8})[A-Za-z0-9]{16}"),
    ),
    _shape("Google API key", "AIza", r"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _shape("Google OAuth client secret", "GOCSPX-", r"[A-Za-z0-9_-]{28}"),
    _shape("Google OAuth token", r"ya29\.", r"[A-Za-z0-9_-]{24}"),
    _shape("Anthropic API key", "sk-ant-", r"[A-Za-z0-9_-]{20}"),
    _shape("OpenAI API key", "sk-", r"(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20}"),
    _shape("OpenAI API key", "sk-", r"([A-Za-z0-9]{20,64})(?![A-Za-z0-9_-])", _has_letter_and_digit),
    _shape("Hugging Face token", "hf_", r"[A-Za-z0-9]{30}"),
    _shape("SendGrid key", r"SG\.", r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32}"),
    _shape("npm token", "npm_", r"[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _shape("PyPI token", "pypi-", r"A[A-Za-z0-9_-]{50}"),
    _shape("Docker Hub token", "dckr_pat_", r"[A-Za-z0-9_-]{20}"),
    _shape("DigitalOcean token", "do[opr]_v1_", r"[0-9a-f]{40}"),
    _shape("Databricks token", "dapi", r"[0-9a-f]{32}(?![A-Za-z0-9])"),
    _shape("Grafana token", "glsa_", r"[A-Za-z0-9]{32}_[0-9a-fA-F]{8}"),
    _shape("Tailscale key", "tskey-", r"(?:auth|api|client)-[A-Za-z0-9]{16}"),
    _shape("Shopify token", "shp(?:at|ca|pa|ss)_", r"[0-9a-fA-F]{32}"),
    _shape("Vault token", r"hv[sbr]\.", r"[A-Za-z0-9_-]{24}"),
    _shape("1Password token", "ops_eyJ", r"[A-Za-z0-9+/_-]{100}"),
    _shape("Airtable token", "pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    _shape("Atlassian token", "AT[AC]TT3", r"[A-Za-z0-9_=-]{60}"),
    _shape("Bitbucket password", "ATBB", r"([A-Za-z0-9]{32})(?![A-Za-z0-9])", _has_letter_and_digit),
    _shape("Brevo key", "xkeysib-", r"[0-9a-f]{64}"),
    _shape("Buildkite token", "bkua_", r"[0-9a-f]{40}"),
    _shape("CircleCI token", "CCIPAT_", r"[A-Za-z0-9]{10,40}_[0-9a-f]{40}"),
    _shape("Cloudflare origin key", r"v1\.0-", r"[0-9a-f]{24}-[0-9a-f]{100}"),
    _shape("Contentful token", "CFPAT-", r"[A-Za-z0-9_-]{40}"),
    _shape("Doppler token", r"dp\.(?:pt|st|sa|ct)\.", r"[A-Za-z0-9._-]{40}"),
    _shape("Figma token", "figd_", r"[A-Za-z0-9_-]{36}"),
    _shape("Grafana token", "glc_eyJ", r"[A-Za-z0-9+/=]{50}"),
    _shape("Groq key", "gsk_", r"[A-Za-z0-9]{48}"),
    _shape("JFrog key", "AKCp", r"[A-Za-z0-9]{64}"),
    _shape("LangSmith key", "lsv2_(?:pt|sk)_", r"[0-9a-f]{32}"),
    _shape("Linear key", "lin_api_", r"[A-Za-z0-9]{36}"),
    _shape("Mapbox secret token", r"sk\.eyJ", r"[A-Za-z0-9_-]{40,200}\.[A-Za-z0-9_-]{20}"),
    _shape("Netlify token", "nfp_", r"[A-Za-z0-9]{36}"),
    _shape("New Relic key", "NRAK-", r"[A-Z0-9]{27}(?![A-Za-z0-9])"),
    _shape("Notion token", "ntn_", r"[A-Za-z0-9]{40}"),
    _shape("Perplexity key", "pplx-", r"[A-Za-z0-9]{40}"),
    _shape("PlanetScale token", "pscale_", r"(?:pw|tkn|oauth)_[A-Za-z0-9_-]{32}"),
    _shape("Postman key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}"),
    _shape("Pulumi token", "pul-", r"[0-9a-f]{40}"),
    _shape("Replicate token", "r8_", r"[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
    _shape("RubyGems key", "rubygems_", r"[0-9a-f]{48}"),
    _shape("Sentry token", "sntry[su]_", r"[A-Za-z0-9+/=_-]{50}"),
    _shape("SonarQube token", "sq[upa]_", r"[0-9a-f]{40}"),
    _shape("Square token", "sq0(?:atp|csp)-", r"[A-Za-z0-9_-]{22}"),
    _shape("Stripe webhook secret", "whsec_", r"[A-Za-z0-9+/]{32}"),
    _shape("Supabase key", "sb_secret_", r"[A-Za-z0-9_-]{20}"),
    _shape("Supabase token", "sbp_", r"[0-9a-f]{40}"),
    _shape("xAI key", "xai-", r"[A-Za-z0-9]{64}"),
    _shape("Google OAuth refresh token", "1//0", r"[A-Za-z0-9_-]{38}"),
    _shape(
        "Microsoft Teams webhook",
        r"webhook\.office\.com/webhookb2/",
        r"[0-9a-f-]{36}@[0-9a-f-]{36}/[A-Za-z]+/[0-9a-f]{32}",
    ),
    Shape(
        "Terraform Cloud token",
        re.compile(r"\.atlasv1\.(?<=[A-Za-z0-9]{14}\.atlasv1\.)[A-Za-z0-9_-]{50}"),
    ),
    Shape("Telegram bot token", re.compile(r":AA(?<=[0-9]{8}:AA)[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])")),
    _shape("Azure storage account key", "AccountKey=", r"[A-Za-z0-9+/]{40}"),
    _shape("Azure shared access key", "SharedAccessKey=", r"[A-Za-z0-9+/]{24}"),
    _shape("Azure shared access signature", "sig=", r"[A-Za-z0-9%+/]{43,96}(?:=|%3[Dd])"),
    Shape("Azure client secret", re.compile(r"Q~(?<=[A-Za-z0-9_~.]{3}[0-9]Q~)[A-Za-z0-9_~.-]{31}")),
    Shape(
        "JSON Web Token",
        re.compile(r"(eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{12,8192})\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]"),
        _is_jwt,
    ),
    Shape(
        "password in a URL",
        re.compile(r"""://(?<=[A-Za-z0-9+.-]://)([^\s\0/?#@:"'`<>\\,;]*):([^\s\0/?#"'`\\,;]+)@"""),
        _is_url_password,
    ),
    Shape(
        "password in a connection string",
        re.compile(
            r"=(?<=[Dd]=)(?:(?<=(?<![\w.-])[Pp]ass[Ww]ord=)|(?<=(?<![\w.-])PASSWORD=)|(?<=(?<![\w.-])[Pp]wd=)"
            r"""|(?<=(?<![\w.-])PWD=))["']?([^;,&\s\0"'<>]{3,256})"""
        ),
        _is_connection_password,
    ),
    Shape(
        "basic authorization header",
        re.compile(r"asic (?<=[Bb]asic ) {0,3}([A-Za-z0-9+/]{8,1024})(?![A-Za-z0-9+/])"),
        _is_basic_authorization,
    ),
    Shape(
        "bearer token",
        re.compile(r"earer (?<=[Bb]earer ) {0,3}(?![xX]{8})([A-Za-z0-9._~+/-]{20,1024})"),
        _has_letter_and_digit,
    ),
)


def kind_of_credential(text: str) -> str | None:
    """What kind of credential a text is or has in it, None where it has none. Of many texts, look through all at once:
    `config/secrets.py`."""
    for shape in SHAPES:
        for match in shape.pattern.finditer(text):
            if shape.is_real is None or shape.is_real(match):
                return shape.kind
    return None
