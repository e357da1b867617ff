"""What a hub says of itself when it is asked: reached, token accepted, healthy, its log whole, its clock right."""

import time
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any, Final

from central_hub.cli.audit_pages import WrongExport, record
from central_hub.cli.checks import Check
from central_hub.cli.finding import Hub
from central_hub.cli.hub_client import Answer, HubClient
from central_hub_client.errors import CentralHubError, Forbidden, Unauthenticated

MOST_SKEW_SECONDS: Final = 30.0
_ENTRIES_CHECKED: Final = 100

_REMEDIES: Final = {
    "postgres": "is PostgreSQL running? Reads go on meanwhile, writes answer 503",
    "nats": "is NATS running, and does CENTRAL_HUB_NATS_URL name it? Events and polling go on meanwhile",
}


def check_hub(place: Hub, hub: HubClient) -> list[Check]:
    """Everything that the hub can be asked. Begins with the check named `hub`: whether one answers at all."""
    started = time.time()
    try:
        answer = hub.get("/health")
    except Unauthenticated as error:
        return [_answers(place), Check("token", False, error.detail, "name the right one with --token-file")]
    except Forbidden as error:
        # A token for something else, writing for example: nothing is wrong with the hub.
        return [_answers(place), Check("token", True, f"accepted (from {place.token_from}), but {error.detail}")]
    except CentralHubError as error:
        remedy = "start it with `central-hub up`, or name the right one with --url"
        return [Check("hub", False, error.detail, remedy)]
    token = Check("token", True, f"accepted (from {place.token_from})")
    return [_answers(place), token, *_health(answer.value), _clock(answer, started), _log(hub, answer.value)]


def _answers(place: Hub) -> Check:
    return Check("hub", True, f"{place.url} answers (found by {place.url_from})")


def _health(health: dict[str, Any]) -> list[Check]:
    reasons = "; ".join(health["reasons"])
    checks = [
        Check(
            name,
            component["ok"] is not False,
            "works, says the hub" if component["ok"] else component.get("reason") or reasons,
            _REMEDIES.get(name, reasons),
        )
        for name, component in health["components"].items()
    ]
    state = health["state"]
    return [*checks, Check("health", state == "healthy", f"{state}, at {health['applied']}", reasons)]


def _clock(answer: Answer, started: float) -> Check:
    text = answer.headers.get("Date", "")
    try:
        hubs = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return Check("clock", True, "the hub did not say what time it has")
    # The header has whole seconds, and the hub wrote it at some moment between our two.
    skew = max(started - hubs - 1, hubs - time.time(), 0)
    return Check("clock", skew <= MOST_SKEW_SECONDS, f"{skew:.0f} s from the hub's", "set both clocks by NTP")


def _log(hub: HubClient, health: dict[str, Any]) -> Check:
    """The end of the audit log alone: `audit verify` walks all of it."""
    what, remedy = "end of the audit log", "run `central-hub audit verify`: it says what is wrong, and where"
    last = int(str(health["applied"]).rpartition(".")[2])
    try:
        page = hub.get("/audit", after=max(0, last - _ENTRIES_CHECKED), limit=2 * _ENTRIES_CHECKED).value
        records = [record(entry) for entry in page["entries"]]
    except Forbidden:
        return Check(what, True, "not looked at: that needs a token of an administrator")
    except (CentralHubError, WrongExport) as error:
        return Check(what, False, str(error), remedy)
    is_linked = all(later.entry.previous_hash == earlier.entry_hash for earlier, later in pairwise(records))
    is_sound = all(one.entry.hash == one.entry_hash for one in records)
    ends_right = page["next"] is not None or not records or records[-1].entry_hash == page["head"]["hash"]
    differing = page["differing_documents"]
    is_whole = is_linked and is_sound and ends_right and not differing
    return Check(what, is_whole, f"{len(records)} entries, {'linked' if is_whole else 'not as they were'}", remedy)
