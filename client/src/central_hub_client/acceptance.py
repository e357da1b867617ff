"""Whether what arrived may be applied. Pure: every decision follows from what is held and what was received.

A client never goes backwards. Only a new epoch (the history was restored), or another hub altogether, lowers a
revision, and only a channel that proves who speaks may say so: an answer or an event of the hub itself. What comes
over the bus is applied if it is signed and fits exactly; anything else there is a reason to ask, never a reason to
believe.
"""

from dataclasses import dataclass
from enum import StrEnum

from central_hub_client.wire import Bookmark, ConfigObject, Position

# Features of a config object that this client knows how to apply; a later hub may require more (see API: `requires`).
KNOWN_FEATURES: frozenset[str] = frozenset()


class Verdict(StrEnum):
    """What to do with an object that arrived."""

    APPLY = "apply"
    IGNORE = "ignore"
    FETCH = "fetch"
    """Ask the hub: it may be true, it may be a lie."""
    REFUSE = "refuse"
    """The hub's own answer cannot be used; asking again at once would bring the same."""


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    reason: str
    resync: bool = False
    """Applying this abandons the history that was held: a new epoch, or another hub."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a client knows when something arrives.

    `position` and `hash` are of the object it holds, None if it holds none; `verified` is the position up to which it
    knows that it holds the latest.
    """

    service: str
    environment: str
    hub_id: str | None = None
    position: Position | None = None
    hash: str | None = None
    verified: Position | None = None


def judge_answer(known: Known, received: ConfigObject) -> Decision:
    """For an object from the hub itself: the answer to a request, or an event of an authorised stream."""
    if (received.service, received.environment) != (known.service, known.environment):
        return Decision(Verdict.REFUSE, "it is of another service or environment")
    if received.is_hint:
        return Decision(Verdict.FETCH, "it carries no configuration")
    if not received.hash_is_right():
        return Decision(Verdict.REFUSE, "its hash is not that of its content")
    if unknown := set(received.requires) - KNOWN_FEATURES:
        return Decision(Verdict.REFUSE, f"it needs a newer client (requires {', '.join(sorted(unknown))})")
    if known.position is None:
        return Decision(Verdict.APPLY, "nothing was held")
    if received.hub_id != known.hub_id:
        return Decision(Verdict.APPLY, "another hub answers", resync=True)
    if received.epoch > known.position.epoch:
        return Decision(Verdict.APPLY, "a new epoch began", resync=True)
    if received.position < known.position:
        return Decision(Verdict.IGNORE, "this replica is behind")
    if received.position == known.position and received.hash == known.hash:
        return Decision(Verdict.IGNORE, "it is held already")
    return Decision(Verdict.APPLY, "it is newer")


def judge_message(known: Known, received: ConfigObject, *, is_last_of_subject: bool = False) -> Decision:
    """For an object from the bus whose signature was verified.

    `is_last_of_subject`: it was read as the last message kept, so what came before it was superseded, not missed.
    """
    if received.hub_id != known.hub_id and known.hub_id is not None:
        return Decision(Verdict.FETCH, "another hub signed it")
    if known.verified is not None and received.position <= known.verified:
        return Decision(Verdict.IGNORE, "it tells nothing new")
    if (received.service, received.environment) != (known.service, known.environment):
        return Decision(Verdict.FETCH, "it is of another service or environment")
    if received.is_hint:
        return Decision(Verdict.FETCH, "it carries no configuration")
    if not set(received.requires) <= KNOWN_FEATURES:
        return Decision(Verdict.FETCH, "it requires what this client does not know")
    if not received.hash_is_right():
        return Decision(Verdict.FETCH, "its hash is not that of its content")
    if known.position is None:
        return Decision(Verdict.APPLY, "nothing was held")
    if received.epoch != known.position.epoch:
        return Decision(Verdict.FETCH, "it is of another epoch")
    if received.position <= known.position:
        return Decision(Verdict.IGNORE, "it is not newer")
    if received.previous_revision != known.position.revision and not is_last_of_subject:
        return Decision(Verdict.FETCH, "a change in between was missed")
    return Decision(Verdict.APPLY, "it follows what is held")


class Heard(StrEnum):
    """What a bookmark tells."""

    PRESENT = "present"
    PAST = "past"
    """A replica that lags, or a message of yesterday sent again."""
    OTHER_HISTORY = "other_history"


def judge_bookmark(known: Known, bookmark: Bookmark) -> Heard:
    """For a bookmark whose origin was verified."""
    if known.hub_id is not None and bookmark.hub_id != known.hub_id:
        return Heard.OTHER_HISTORY
    if known.verified is not None and bookmark.position < known.verified:
        return Heard.PAST
    if known.position is not None and bookmark.epoch != known.position.epoch:
        return Heard.OTHER_HISTORY
    return Heard.PRESENT
