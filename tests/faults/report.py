"""One line for each test: what was injected, and what came of it."""

from typing import Any

LINES: list[str] = []


def report(test: str, *, seed: int, **figures: Any) -> None:
    """Keep the line for the end of the test."""
    shown = ", ".join(
        f"{name.replace('_', ' ')} {value:.2f}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in figures.items()
    )
    LINES.append(f"{test}: {shown}, seed {seed}")
