"""What the results of a target's probes come to, worked out the long way: by counting back over all of them. Nothing
here knows how the hub does it."""

from central_hub.monitoring.infrastructure import ProbeSettings

Result = tuple[int, bool | None]
"""Second and what came of it; None is that nothing could be measured."""


def unwell(results: list[Result], settings: ProbeSettings, *, end: int) -> list[tuple[int, int, str]]:
    """From which second on and before which one the target is in which state, without those in which it is well."""
    measured = [(second, ok) for second, ok in results if ok is not None]
    lasts = max(3 * int(settings.interval_seconds), 60)
    window = max(20 * int(settings.interval_seconds), 600)
    is_down = flaps = False
    clock = 0
    turns: list[int] = []
    first = measured[0][0] if measured else end
    spans = [(lasts, first, "expired")] if first > lasts else []
    for place, (second, ok) in enumerate(measured):
        if place > 0:
            # A time in which nobody looked does not count as one in which it was steady.
            clock += min(second - measured[place - 1][0], lasts)
            if ok is not measured[place - 1][1]:
                turns.append(clock)
        if turns and clock - turns[-1] >= window // 2:
            turns, flaps = [], False
        if sum(clock - turn < window for turn in turns) >= 6:
            flaps = True
        if is_down:
            is_down = not (ok and _in_a_row(measured, place, settings.successes))
        else:
            is_down = not ok and _in_a_row(measured, place, settings.failures * (3 if flaps else 1))
        upcoming = measured[place + 1][0] if place + 1 < len(measured) else end
        if is_down or flaps or not ok:
            spans.append((second, min(upcoming, second + lasts), "unhealthy" if is_down else "degraded"))
        if upcoming > second + lasts:
            spans.append((second + lasts, upcoming, "expired"))
    return _joined(spans)


def _in_a_row(measured: list[tuple[int, bool]], place: int, count: int) -> bool:
    """Whether the last so many results, up to that place, are the same."""
    return place + 1 >= count and len({ok for _, ok in measured[place + 1 - count : place + 1]}) == 1


def _joined(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    joined: list[tuple[int, int, str]] = []
    for begin, end, state in spans:
        if joined and joined[-1][1:] == (begin, state):
            joined[-1] = (joined[-1][0], end, state)
        else:
            joined.append((begin, end, state))
    return joined
