"""Who tells what happens."""

import time


class Narrator:
    """Tells what happens, and keeps what was measured for the summary."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._measured: list[tuple[str, str]] = []

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", flush=True)

    def measured(self, what: str, value: str) -> None:
        self._measured.append((what, value))
        self.say(f"        {what}: {value}")

    def sum_up(self) -> None:
        self.measured("the whole demonstration", f"{time.monotonic() - self._began:.1f} s")
        print("\nSummary")
        for what, value in self._measured:
            print(f"  {what:<78} {value:>12}")
