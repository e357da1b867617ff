"""Wait until a revision runs everywhere, and say who keeps it from that and what to do about it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from central_hub.cli.session import Session
from central_hub_client.errors import HubUnavailable, HubUnreachable
from central_hub_client.wire import DEFAULT_ENVIRONMENT

LOOK_SECONDS: Final = 1.0
"""The hub is asked this often for news, and answers earlier once there is nothing left to wait for."""
AFTER_A_REFUSAL_SECONDS: Final = 2.0
"""One refusal decides; those that come right behind it are worth seeing as well."""
TRY_AGAIN_SECONDS: Final = 0.5
MAX_NAMES: Final = 10

Status = Mapping[str, Any]
Instance = Mapping[str, Any]


class Outcome(StrEnum):
    """How a wait ended."""

    APPLIED = "applied"
    NO_INSTANCES = "no_instances"
    REJECTED = "rejected"
    SHADOWED = "shadowed"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"

    @property
    def is_good(self) -> bool:
        return self in (Outcome.APPLIED, Outcome.NO_INSTANCES)


@dataclass(frozen=True, slots=True)
class Waited:
    """What there was to see at the end; nothing where it was interrupted before the first answer."""

    outcome: Outcome
    found: Status | None


def wait_for(session: Session, service: str, environment: str, revision: str | None, timeout_seconds: float) -> Waited:
    """Wait until every instance that is alive runs the revision, which by default is the one that is the latest now.

    It ends earlier where waiting changes nothing: one refuses it, or hides it behind settings of its own. Raises
    CentralHubError where the hub does not answer at first, or has not come back when the time is over.
    """
    found: Status | None = None

    def look(wait_seconds: float) -> Status:
        wanted = revision if found is None else position_of(found)
        query = {"environment": environment, "revision": wanted, "wait": wait_seconds}
        answer: Status = session.hub.get(f"/config/status/{service}", **query).value
        return answer

    deadline = time.monotonic() + timeout_seconds
    is_refused = False
    try:
        with session.output.progress() as show:
            found = look(0)
            while found["states"]["pending"]:
                show(f"{subject_of(found)}: {counted(found)}")
                if found["states"]["rejected"] and not is_refused:
                    is_refused = True
                    deadline = min(deadline, time.monotonic() + AFTER_A_REFUSAL_SECONDS)
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                found = _look_again(look, min(LOOK_SECONDS, remaining), deadline, show)
    except KeyboardInterrupt:
        return Waited(Outcome.INTERRUPTED, found)
    return Waited(_outcome(found), found)


def position_of(found: Status) -> str | None:
    """The revision that is spoken of; None where there is no configuration."""
    return None if found["revision"] is None else f"{found['epoch']}.{found['revision']}"


def subject_of(found: Status) -> str:
    """What is spoken of: `billing in environment default: revision 1.42`."""
    position = position_of(found)
    at = "no configuration" if position is None else f"revision {position}"
    return f"{found['service']} in environment {found['environment']}: {at}"


def counted(found: Status) -> str:
    """How many instances stand how: `3 applied, 1 rejected`."""
    return ", ".join(f"{count} {state}" for state, count in found["states"].items() if count) or "no instance"


def sentence(waited: Waited, service: str, timeout_seconds: float) -> str:
    """Why it did not come to a good end."""
    if waited.found is None:
        return f"interrupted: nobody can say how far {service} has got"
    found, states = waited.found, waited.found["states"]
    alive = len(found["instances"]) - states["silent"]
    about = f"{subject_of(found)} is not everywhere"
    match waited.outcome:
        case Outcome.REJECTED:
            return f"{about}: {states['rejected']} of {alive} refused it"
        case Outcome.SHADOWED:
            return f"{about}: {states['shadowed']} of {alive} hide it behind settings of their own"
        case Outcome.INTERRUPTED:
            return f"{about}: interrupted while {states['pending']} of {alive} had not applied it"
    return f"{about}: {states['pending']} of {alive} had not applied it after {timeout_seconds:g} s"


def details(found: Status) -> tuple[str, ...]:
    """Who keeps it from being everywhere, why, and what to do."""
    service, instances = found["service"], found["instances"]
    place = "" if found["environment"] == DEFAULT_ENVIRONMENT else f" -e {found['environment']}"
    lines = []
    if rejected := _of(instances, "rejected"):
        lines += [f"refused by {names}: {reason}" for reason, names in _by_error(rejected)]
        lines.append(
            f"to do: mend it (central-hub edit {service}{place}), or go back (central-hub history {service}{place},"
            f" central-hub rollback {service} REVISION{place}); where _global brought it, there"
        )
    if shadowed := _of(instances, "shadowed"):
        lines += [f"hidden at {names}: {reason}" for reason, names in _by_error(shadowed)]
        lines.append(
            "to do: take the setting out of the instance's environment or files and start it again;"
            " `manager.explain(key)` there says where it is set"
        )
    if pending := _of(instances, "pending"):
        lines += [f"not applied by {_name(instance)}: {_last_heard(instance)}" for instance in pending[:MAX_NAMES]]
        if len(pending) > MAX_NAMES:
            lines.append(f"… nor by {len(pending) - MAX_NAMES} more")
        lines.append(
            "to do: look into its log: it lives, and has not taken the revision; one that ended without a word"
            " counts until its lease runs out"
        )
    return tuple(lines)


def absence(found: Status) -> str | None:
    """What is to be said of the silent ones, which are not waited for."""
    silent = _of(found["instances"], "silent")
    if not silent:
        return None
    return f"not waited for, since not heard of: {_names(silent)}; what they run nobody knows"


def _look_again(
    look: Callable[[float], Status], wait_seconds: float, deadline: float, show: Callable[[str], None]
) -> Status:
    """The next answer of the hub, which may be away meanwhile: instances go on without it, and so does the wait."""
    while True:
        try:
            return look(wait_seconds)
        except (HubUnreachable, HubUnavailable) as error:
            if time.monotonic() + TRY_AGAIN_SECONDS > deadline:
                raise
            show(f"{error.detail}; trying again")
            time.sleep(TRY_AGAIN_SECONDS)


def _outcome(found: Status) -> Outcome:
    states = found["states"]
    if states["rejected"]:
        return Outcome.REJECTED
    if states["pending"]:
        return Outcome.TIMED_OUT
    if states["shadowed"]:
        return Outcome.SHADOWED
    return Outcome.APPLIED if states["applied"] else Outcome.NO_INSTANCES


def _of(instances: Iterable[Instance], state: str) -> list[Instance]:
    return [instance for instance in instances if instance["state"] == state]


def _by_error(instances: Iterable[Instance]) -> list[tuple[str, str]]:
    """Each reason once, with those who gave it: a hundred instances refuse a value in the same words."""
    by_error: dict[str, list[Instance]] = {}
    for instance in instances:
        by_error.setdefault(instance["error"] or "it gave no reason", []).append(instance)
    return [(error, _names(those)) for error, those in by_error.items()]


def _names(instances: Sequence[Instance]) -> str:
    more = f" and {len(instances) - MAX_NAMES} more" if len(instances) > MAX_NAMES else ""
    return ", ".join(map(_name, instances[:MAX_NAMES])) + more


def _name(instance: Instance) -> str:
    what = instance["version"] or instance["build"]
    return instance["instance_id"] if what is None else f"{instance['instance_id']} ({what})"


def _last_heard(instance: Instance) -> str:
    revision = instance["applied_revision"]
    runs = "it runs none yet" if revision is None else f"it runs {instance['applied_epoch']}.{revision}"
    return f"{runs}, last heard {instance['last_seen']}"
