"""What a command says: results on stdout, everything else on stderr.

On a terminal, tables and colours; in a pipe, plain aligned text; with `--json`, one JSON value and nothing besides.
"""

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TextIO

from central_hub.cli.legible import json_text, visible

if TYPE_CHECKING:
    from rich.console import Console

Row = Sequence[str]

_GAP: Final = "  "
_ERASE_LINE: Final = "\x1b[K"
_FOLDED_FROM: Final = 24
"""A time, an id or a name stays in one piece; a column with anything longer may be folded down to this."""


class Output:
    """Whatever is handed over may come from anybody: it is made safe here, and never read as markup."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._warned: set[str] = set()

    def json(self, value: Any, *, indent: int | None = 2) -> None:
        """Print the one result of a command for machines."""
        _print(json_text(value, indent=indent), sys.stdout)

    def text(self, text: str, style: str = "") -> None:
        """Print one line of the result for people."""
        self._styled(visible(text), style)

    def document(self, value: Any) -> None:
        """Print a JSON value for people, on several lines."""
        _print(json_text(value, indent=2), sys.stdout)

    def table(
        self, columns: Sequence[str], rows: Sequence[Row], *, style_of: Callable[[str], str] = lambda _: ""
    ) -> None:
        """Print rows under headings. On a terminal long cells are folded, and states have the style that they are of;
        where it is too narrow for that, long cells stand below their row. Nothing is ever cut off."""
        lines = [[column.upper() for column in columns], *([visible(cell) for cell in row] for row in rows)]
        if self._console is None:
            _print_aligned(lines)
            return
        if _least_width(lines) > self._console.width:
            filled = [index for index in range(len(columns)) if not rows or any(row[index] for row in rows)]
            lines = [[line[index] for index in filled] for line in lines]
        if _least_width(lines) > self._console.width:
            _print_stacked(lines, self._console.width)
            return
        widths = _widths(lines)
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, len(_GAP), 0, 0))
        for heading, width in zip(lines[0], widths, strict=True):
            table.add_column(heading, overflow="fold", no_wrap=width <= _FOLDED_FROM)
        for line in lines[1:]:
            cells = zip(lines[0], line, strict=True)
            table.add_row(*(Text(cell, style_of(cell) if heading == "STATE" else "") for heading, cell in cells))
        self._console.print(table)

    def warn(self, sentence: str) -> None:
        """Say once what a person should know before and after a change."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            self.note(f"warning: {sentence}")

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[float], None]]:
        """Say what share of something is done, from 0 to 1: a bar on a terminal, nothing elsewhere."""
        if self.as_json or not sys.stderr.isatty():
            yield lambda _share: None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(what, total=1.0)
            yield lambda share: progress.update(task, completed=share)

    def note(self, text: str) -> None:
        """Say something to the person at the terminal. Machines are not told."""
        if not self.as_json:
            _print(visible(text), sys.stderr)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Say again and again how far something is: on a terminal in one line, which goes away at the end; elsewhere in
        a line for whatever is new. Machines are not told."""
        if self.as_json or not sys.stderr.isatty():
            told: list[str] = []

            def tell(text: str) -> None:
                if told[-1:] != [text]:
                    told.append(text)
                    self.note(text)

            yield tell
            return
        try:
            yield lambda text: _rewrite(visible(text))
        finally:
            _rewrite("")

    def problem(self, sentence: str, details: Sequence[str] = (), fields: dict[str, Any] | None = None) -> None:
        """Say what went wrong: for machines as one JSON object, on stderr like all that is no result."""
        if self.as_json:
            _print(json_text({"detail": sentence} | (fields or {})), sys.stderr)
            return
        _print(f"Error: {visible(sentence)}", sys.stderr)
        for detail in details:
            _print(f"  {visible(detail)}", sys.stderr)

    def _styled(self, safe: str, style: str) -> None:
        if self._console is None or not style:
            _print(safe, sys.stdout)
            return
        self._console.print(safe, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)

    @cached_property
    def _console(self) -> "Console | None":
        """The terminal, where stdout is one. Without a terminal Rich is not even loaded."""
        if self.as_json or not sys.stdout.isatty():
            return None
        from rich.console import Console

        console = Console()
        # NO_COLOR asks for no colours; Rich would still send bold and dim.
        return Console(color_system=None) if console.no_color else console


def _widths(lines: Sequence[Row]) -> list[int]:
    return [max(map(len, cells)) for cells in zip(*lines, strict=True)]


def _least_width(lines: Sequence[Row]) -> int:
    return sum(min(width, _FOLDED_FROM) + len(_GAP) for width in _widths(lines))


def _print_aligned(lines: Sequence[Row]) -> None:
    widths = _widths(lines)
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        _print(_GAP.join(padded).rstrip(), sys.stdout)


def _print_stacked(lines: Sequence[Row], console_width: int) -> None:
    """Each row with its long cells below it, one a line, named and folded."""
    widths = _widths(lines)
    short = [index for index, width in enumerate(widths) if width <= _FOLDED_FROM]
    for line in lines:
        _print(_GAP.join(line[index].ljust(widths[index]) for index in short).rstrip(), sys.stdout)
        for index, cell in enumerate(line):
            if index not in short and cell and line is not lines[0]:
                named = f"{_GAP}{lines[0][index].lower()}: {cell}"
                folded = textwrap.wrap(named, console_width - 1, subsequent_indent=_GAP * 2, break_on_hyphens=False)
                _print("\n".join(folded), sys.stdout)


def _rewrite(line: str) -> None:
    # A line that is longer than the terminal would be two, and only the second is ever rewritten.
    width = shutil.get_terminal_size().columns - 1
    sys.stderr.write(f"\r{_ERASE_LINE}{line[:width]}")
    sys.stderr.flush()


def _print(text: str, stream: TextIO) -> None:
    # Flushed line by line: `watch` is read by programs while it runs.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()
