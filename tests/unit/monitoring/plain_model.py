"""What is to be expected of alerts, worked out the long way: for each rule and each subject by itself, over all of its
time, from when its condition is there. Nothing here knows how the hub does it."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

HOLD = 5

Span = tuple[int, int]


@dataclass
class Episode:
    """From firing to the end, with when somebody was told of it."""

    begins: int
    fires: int
    ends: int
    told: int | None = None


def episodes(present: list[Span], *, lasts: int, tick: int) -> list[Episode]:
    """`present` are the spans in which the condition is there; looks are taken every `tick` seconds."""
    found: list[Episode] = []
    for begin, end in _joined(present):
        if found and begin <= found[-1].ends:
            # It was away for no longer than the hold: nobody noticed an end.
            found[-1].ends = end + HOLD
            continue
        fires = begin + -(-lasts // tick) * tick
        if fires < end:
            found.append(Episode(begin, fires, end + HOLD))
    return found


def tell(
    episodes: list[Episode],
    present: list[Span],
    *,
    lasts: int,
    cooldown: int,
    tick: int,
    is_explained: Callable[[int], bool],
    is_muted: Callable[[int], bool],
    acknowledgements: list[int],
) -> None:
    """Find for each of them when it is told, if it is."""
    spans = _joined(present)
    begins = [begin for begin, _ in spans]

    def is_present(second: int) -> bool:
        place = bisect_right(begins, second) - 1
        return place >= 0 and second < spans[place][1]

    quiet_until = 0
    for episode in episodes:
        # An acknowledgement is taken right after a look, and holds for the looks behind it.
        seen = [second for second in acknowledgements if episode.fires <= second < episode.ends]
        acknowledged = min(seen, default=episode.ends)
        freed, was_explained = None, False
        for second in range(episode.begins, episode.ends, tick):
            explained = is_present(second) and is_explained(second)
            if explained:
                freed = None
            elif was_explained:
                freed = second
            was_explained = explained
            if (
                second >= episode.fires
                and second >= quiet_until
                and is_present(second)
                and not explained
                and (freed is None or second >= freed + lasts)
                and second <= acknowledged
                and not is_muted(second)
            ):
                episode.told = second
                quiet_until = episode.ends + cooldown
                break


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined
