"""The terminal: one console, progress bars, tables and logging, all through rich."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from moenas.masking import shown

console = Console(stderr=True)
"""People read stderr; stdout is for ``--json`` alone."""

logger = logging.getLogger("moenas")

events = logging.getLogger("moenas.events")
"""What only the log of a run is told; the terminal shows the same in bars and tables."""

events.setLevel(logging.INFO)
events.propagate = False


def note(event: str, message: str, **fields: Any) -> None:
    """Tell the log of the run, and nobody else, what happened.

    Args:
        event: Its kind, one word.
        message: For people.
        fields: For machines, JSON-ready.
    """
    events.info("%s", message, extra={"event": event, "fields": fields})


def set_up_logging(verbose: bool = False) -> None:
    """Send moenas' log to the console; silent libraries stay silent."""
    handler = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    handler.setFormatter(_Shown("%(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


class _Shown(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def progress(transient: bool = True) -> Progress:
    """Return a progress display with a bar, a count and the time left; use it with ``with``."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
        transient=transient,
    )


BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """Return a line of blocks, one a value, from the lowest to the highest."""
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    return "".join(
        BLOCKS[int((len(BLOCKS) - 1) * (value - low) / span + 0.5) if span else 0]
        for value in values
    )


def is_watched() -> bool:
    """Whether stderr is a terminal that can redraw lines; a log file or CI is not."""
    return console.is_terminal and not console.is_dumb_terminal


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a rich table; the first column is text, the others are numbers.

    Cells are shown as they are, brackets and all. Where a terminal is too narrow, text goes on in
    the next line: a number is never cut.
    """
    texts = [[shown(str(cell)) for cell in row] for row in rows]
    result = Table(
        title=Text(shown(title)), title_justify="left", title_style="bold", header_style="bold"
    )
    for index, column in enumerate(columns):
        cells = [row[index] for row in texts]
        number = index > 0 and all(_is_number(cell) for cell in cells)
        result.add_column(
            Text(shown(column)),
            justify="left" if index == 0 else "right",
            no_wrap=number,
            overflow="ellipsis" if number else "fold",
            min_width=max(map(len, cells), default=0) if number else None,
        )
    for text in texts:
        result.add_row(*map(Text, text))
    return result


def _is_number(cell: str) -> bool:
    """Whether a cell has no letters but those of a unit: ``83.1``, ``2.23M``, ``–``."""
    return sum(letter.isalpha() for letter in cell) <= 1
