"""Central Hub at work, in two minutes: a hub, services that live on it, changes that arrive, calls that find their way
around what is drained or killed, a hub that dies, and a database under the services that dies and is told of once.

Everything is real and temporary: the hub with its own PostgreSQL and NATS, the pilot service, a stand-in for the API it
downloads from, all on 127.0.0.1 and in a directory that is removed at the end. Run it by `make demo`.
"""

import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import FrameType
from typing import Any, Final

from examples.demonstration.narrator import Narrator
from examples.demonstration.programs import Pilot, StepFailed
from examples.demonstration.stage import Stage, stage_for

PLATFORM: Final = "platform-db"


def show(stage: Stage) -> None:
    """The demonstration. Raises StepFailed where something does not happen."""
    narrator = stage.narrator
    narrator.say("The hub runs, with the documents of a sample fleet. First the pilot gets enough to do:")
    stage.set("download.start_date=today-90days")

    api_url, token = stage.start_stand_in(), stage.token_for_the_pilot()
    pilot = stage.start_pilot("the pilot", api_url, token)
    _, started = pilot.wait_for_event("its start", lambda event: event.get("event") == "started")
    if started["source"] != "hub":
        raise StepFailed(f"the pilot started from {started['source']} and not from the hub")
    _, page = pilot.wait_for_event("its first page", _is_page)
    narrator.say(
        f"The pilot downloads bars in pages of {page['batch_size']}, by revision {page['revision']} of the hub."
    )

    narrator.say("Smaller pages, while it runs:")
    _change(stage, pilot, "batch size", "operational.batch_size=250", lambda page: page["batch_size"] == 250)

    narrator.say("Other symbols:")
    symbols = ["EURUSD", "XAUUSD", "AUDUSD"]
    assignment = f"operational.symbols={json.dumps(symbols, separators=(',', ':'))}"
    since = _change(stage, pilot, "symbols", assignment, lambda page: page["symbol"] == "AUDUSD")
    pilot.wait_for_event("dropping USDJPY", _names("series_dropped", "USDJPY"), after=since)
    narrator.say("It has begun with AUDUSD and dropped GBPUSD and USDJPY, and the hub knows:")
    narrator.say(stage.status())

    narrator.say("Now the hub is killed (SIGKILL). The pilot goes on:")
    stage.hub.kill()
    killed, at = len(pilot.lines), time.monotonic()
    number = killed
    for _ in range(15):
        number, page = pilot.wait_for_event("going on without the hub", _is_page, after=number + 1)
    narrator.measured("pages stored without a hub", f"15 in {time.monotonic() - at:.1f} s")
    narrator.say(f"It works with revision {page['revision']} (source {page['source']}), as before.")

    narrator.say("The hub starts again, on what its database kept:")
    stage.restart_hub()
    _change(
        stage,
        pilot,
        "batch size after the restart",
        "operational.batch_size=500",
        lambda page: page["batch_size"] == 500,
    )

    _show_the_infrastructure(stage)
    _show_the_fleet(stage, stage.start_pilot("the second pilot", api_url, token), token)

    if failed := pilot.count("series_failed"):
        raise StepFailed(f"{failed} series failed")
    narrator.measured("pages stored in all", str(pilot.count("page_stored")))
    narrator.measured("gaps found and closed", f"{pilot.count('gap_found')} and {pilot.count('gap_closed')}")


def _show_the_infrastructure(stage: Stage) -> None:
    narrator = stage.narrator
    narrator.say(f"The fleet runs on a PostgreSQL of its own, {PLATFORM}, which the hub probes:")
    stage.until(f"{PLATFORM} being healthy", lambda: stage.picture()["infrastructure"]["states"]["healthy"] == 1)
    stage.show("graph")
    narrator.say("That PostgreSQL is stopped:")
    began, since = time.monotonic(), len(stage.hub.lines)
    stage.platform.stop()
    stage.until("an alert", lambda: bool(stage.alerts("firing")))
    narrator.measured("stopped: until the alert", f"{time.monotonic() - began:.1f} s")
    stage.hub.wait_for("telling of it", lambda line: "alert_firing" in line, after=since)
    stage.show("alerts")
    alerts = stage.alerts("firing")
    if len(alerts) != 1:
        raise StepFailed(f"there are {len(alerts)} alerts for one cause")
    narrator.say("One alert, and who is behind it:")
    stage.show("graph", "--of", PLATFORM)
    narrator.measured("services that the one alert names", str(len(alerts[0]["affected"])))
    narrator.say(f"The dashboard: {stage.picture()['state']}, {stage.picture()['reason']}")
    narrator.say("Somebody looks after it, and says so:")
    stage.acknowledge(alerts[0], "starting it again")
    stage.show("top", "--once")
    narrator.say("It is started again:")
    began = time.monotonic()
    stage.restart_platform()
    stage.until("the end of the alert", lambda: not stage.alerts("firing"))
    stage.hub.wait_for("telling of the end", lambda line: "alert_resolved" in line, after=since)
    narrator.measured("started: until the alert is resolved", f"{time.monotonic() - began:.1f} s")
    told = [sum(event in line for line in stage.hub.lines[since:]) for event in ("alert_firing", "alert_resolved")]
    narrator.measured("told of it, and of its end", f"{told[0]} and {told[1]} time")


def _show_the_fleet(stage: Stage, second: Pilot, token: str) -> None:
    narrator = stage.narrator
    narrator.say("A second pilot joins, and somebody calls them, in turn:")
    second.wait_for_event("its start", lambda event: event.get("event") == "started")
    caller = stage.caller(token)
    first_name, second_name = caller.names(2)
    caller.call_until(second_name)
    stage.show("top", "--once")

    narrator.say("The second one is drained. It runs on, and calls go around it:")
    stage.drain(second_name, "--reason", "maintenance")
    narrator.measured("drained: from the command to the last call", f"{caller.call_until_only(first_name):.2f} s")
    stage.show("top", "--once")
    stage.drain(second_name, "--undo")
    narrator.measured("back: from the command to its first call", f"{caller.call_until(second_name):.2f} s")

    narrator.say("The second one is killed (SIGKILL). It cannot say goodbye:")
    second.kill()
    caller.tries_in_vain = 0
    narrator.measured("killed: until nobody tries it any more", f"{caller.call_until_only(first_name):.1f} s")
    narrator.measured("calls that were lost, and tries in vain", f"0 and {caller.tries_in_vain}")
    stage.show("top", "--once")


def _change(stage: Stage, pilot: Pilot, name: str, assignment: str, shows: Callable[[dict[str, Any]], bool]) -> int:
    """Change one key and wait for a page that proves it; the number of the line where the pilot heard of it."""
    before = len(pilot.lines)
    path = assignment.partition("=")[0]
    committed = stage.set(assignment)
    number, heard = pilot.wait_for_event(
        f"hearing of {path}",
        lambda event: event.get("event") == "config_changed" and path in event["paths"],
        after=before,
    )
    stage.narrator.measured(f"{name}: from commit to the running service", _milliseconds(heard, committed))
    _, page = pilot.wait_for_event(
        f"working with {assignment}",
        lambda event: _is_page(event) and event["revision"] == heard["revision"] and shows(event),
        after=number,
    )
    stage.narrator.measured(f"{name}: from commit to the first page that shows it", _milliseconds(page, committed))
    return number


def _is_page(event: dict[str, Any]) -> bool:
    return event.get("event") == "page_stored"


def _names(event: str, symbol: str) -> Callable[[dict[str, Any]], bool]:
    return lambda values: values.get("event") == event and values.get("symbol") == symbol


def _milliseconds(event: dict[str, Any], since: datetime) -> str:
    return f"{(datetime.fromisoformat(event['time']) - since) / timedelta(milliseconds=1):.0f} ms"


def _be_terminated(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, _be_terminated)
    narrator = Narrator()
    try:
        with stage_for(narrator) as stage:
            show(stage)
            narrator.say("Everything is stopped:")
    except StepFailed as failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped.", file=sys.stderr)
        return 130
    narrator.sum_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())
