"""Five-field cron schedules (POSIX crontab: numbers, `*`, lists, ranges, steps), in UTC. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final, Self

_FIELDS: Final = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
# The longest wait of any schedule that ever runs: from one 29 February over a century's missing one to the next.
_HORIZON_DAYS: Final = 8 * 366 + 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a scheduled run is due."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `minute hour day month weekday`. Raises ValueError, also for a schedule that never runs."""
        fields = text.split()
        if len(fields) != len(_FIELDS):
            raise ValueError("a schedule has five fields: minute hour day month weekday")
        minutes, hours, days, months, weekdays = (
            _values(field, *bounds) for field, bounds in zip(fields, _FIELDS, strict=True)
        )
        schedule = cls(
            tuple(sorted(minutes)),
            tuple(sorted(hours)),
            days,
            months,
            frozenset(day % 7 for day in weekdays),  # 0 and 7 are both Sunday
            # POSIX: where both day fields are restricted, a day that fits either of them fits.
            either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
        )
        schedule.next_after(datetime(2024, 1, 1, tzinfo=UTC))
        return schedule

    def next_after(self, moment: datetime) -> datetime:
        """The first minute after `moment` (aware) at which the schedule runs. Raises ValueError if there is none."""
        moment = moment.astimezone(UTC)
        for offset in range(_HORIZON_DAYS):
            day = moment.date() + timedelta(days=offset)
            if day.month not in self.months or not self._fits(day.day, day.isoweekday() % 7):
                continue
            for hour in self.hours:
                for minute in self.minutes:
                    candidate = datetime.combine(day, time(hour, minute), UTC)
                    if candidate > moment:
                        return candidate
        raise ValueError("the schedule names a day that no month has")

    def _fits(self, day: int, weekday: int) -> bool:
        if self.either_day:
            return day in self.days or weekday in self.weekdays
        return day in self.days and weekday in self.weekdays


def _values(field: str, name: str, lowest: int, highest: int) -> frozenset[int]:
    values: set[int] = set()
    for part in field.split(","):
        stretch, slash, step_text = part.partition("/")
        first_text, dash, last_text = stretch.partition("-")
        step = _number(step_text, name) if slash else 1
        if stretch == "*":
            first, last = lowest, highest
        else:
            first = _number(first_text, name)
            last = _number(last_text, name) if dash else highest if slash else first
        if not (lowest <= first <= last <= highest and step >= 1):
            raise ValueError(f"the {name} of a schedule lies between {lowest} and {highest}")
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"the {name} of a schedule is made of numbers, *, lists, ranges and steps")
    return int(text)
