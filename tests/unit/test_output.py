"""Tables of the command line on terminals of any width: nothing is cut off, and nothing runs on for three lines."""

import re

import pytest
from rich.console import Console

from central_hub.cli.output import Output

COLUMNS = ("id", "severity", "state", "subject", "environment", "since", "summary", "told")
SINCE = "2026-11-29T13:24:52.469Z"
SUMMARY = f"clickhouse is down since {SINCE}: the connection was refused"
ROWS = [
    ("51e0504c", "critical", "firing", "clickhouse", "", SINCE, SUMMARY, "to log, on-call, with 4 affected"),
    ("5b91b69f", "critical", "firing", "feature-store", "", SINCE, "feature-store is down", ""),
]


def shown(width: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    output = Output(as_json=False)
    output.__dict__["_console"] = Console(width=width, color_system=None)
    output.table(COLUMNS, ROWS)
    return capsys.readouterr().out.splitlines()


def test_where_it_is_too_narrow_long_cells_stand_below_their_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(80, capsys) == [
        "ID        SEVERITY  STATE   SUBJECT        SINCE",
        f"51e0504c  critical  firing  clickhouse     {SINCE}",
        f"  summary: clickhouse is down since {SINCE}: the connection",
        "    was refused",
        "  told: to log, on-call, with 4 affected",
        f"5b91b69f  critical  firing  feature-store  {SINCE}",
        "  summary: feature-store is down",
    ]


@pytest.mark.parametrize("width", [20, 60, 72, 80, 100, 120, 150, 250])
def test_nothing_is_cut_off_at_any_width(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(width, capsys)
    letters = "".join(re.findall(r"[^\s]", "".join(lines)))
    for row in ROWS:
        for cell in row[:4]:
            assert cell in letters
    assert width < 72 or max(map(len, lines)) <= width
