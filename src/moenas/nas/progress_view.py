"""The progress of a search on the terminal: drawn anew each second, or a line a trial in a log."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from moenas.console import console, is_watched, sparkline
from moenas.nas.live_front import LiveFront
from moenas.nas.progress import Result, SearchProgress

WIDE = 80
"""Columns from which on there is room for the architectures of the best trials."""

MOST_RUNNING = 6
"""Running trials that are listed; more would push the rest off a small terminal."""


@contextlib.contextmanager
def watch(progress: SearchProgress) -> Iterator[Callable[[], None]]:
    """Show a search's progress on stderr as long as the context lasts.

    Yields:
        Call it after each trial: where lines cannot be redrawn it prints one about that trial.
    """
    if is_watched():
        with Live(ProgressView(progress), console=console, refresh_per_second=2) as live:
            yield live.refresh
        return
    if progress.done:
        _print(f"{progress.done} of {progress.total} trials are there: {_state(progress)}")
    yield lambda: _print(line(progress))


def line(progress: SearchProgress) -> str:
    """Return one line about the last trial, for a log."""
    last = progress.last
    if last is None:
        return ""
    start = f"{progress.done}/{progress.total} trial {last.number} {last.architecture}"
    if not last.values:
        return f"{start}: {'stopped early' if last.stopped else 'failed'}"
    values = ", ".join(
        f"{_words(name)} {_number(value)}"
        for name, value in zip(progress.objectives, last.values, strict=True)
    )
    note = "" if last.feasible else " (infeasible)"
    return f"{start}: {values}{note}; {_state(progress)}"


class ProgressView:
    """Draws a search: bar, best values, front, hypervolume, what runs and what came last."""

    def __init__(self, progress: SearchProgress) -> None:
        self.progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide as there is room."""
        width = min(options.max_width, 100)
        labels = max(map(len, ("hypervolume", *self.progress.objectives)))
        yield self._bar(wide=width >= WIDE)
        yield ""
        yield self._values(labels, wide=width >= WIDE)
        yield ""
        yield self._facts(labels, width - labels - 12, blocks=not options.ascii_only)

    def _bar(self, wide: bool) -> Table:
        progress = self.progress
        left = progress.seconds_left
        bar = ProgressBar(
            max(progress.total, 1),
            progress.done,
            width=30 if wide else 12,
            style="dim",
            complete_style="cyan",
            finished_style="green",
        )
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(
            Text("Search", style="bold"),
            bar,
            Text(f"{progress.done}/{progress.total}{' trials' if wide else ''}"),
            Text(_clock(progress.elapsed)),
            Text("" if left is None else f"{_clock(left)} left", no_wrap=True),
        )
        return grid

    def _values(self, labels: int, wide: bool) -> Table:
        progress = self.progress
        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("", style="dim", min_width=labels, no_wrap=True)
        table.add_column("best", justify="right", style="bold green", min_width=6, no_wrap=True)
        table.add_column("trial", justify="right", min_width=5, no_wrap=True)
        if wide:
            table.add_column("architecture", no_wrap=True)
        table.add_column("last", justify="right", min_width=6, no_wrap=True)
        last = progress.last.values if progress.last else ()
        for i, (name, best) in enumerate(zip(progress.objectives, progress.best, strict=True)):
            cells = [_words(name), "–", "", *([""] if wide else [])]
            if best is not None:
                cells[1:3] = _number(best.values[i]), str(best.number)
                cells[3:] = [best.architecture] if wide else []
            table.add_row(*cells, _number(last[i]) if last else "–")
        return table

    def _facts(self, labels: int, room: int, *, blocks: bool) -> Table:
        """What concerns all objectives; ``room`` is the columns right of the numbers."""
        progress, front = self.progress, self.progress.front
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", min_width=labels, no_wrap=True)
        grid.add_column(min_width=6, justify="right", no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        curve = sparkline(front.curve(min(32, room))) if blocks else ""
        grid.add_row("hypervolume", Text(_volume(front), "bold"), Text(curve, "cyan"))
        grid.add_row("front", str(front.size), f"of {front.feasible} feasible")
        if progress.infeasible:
            grid.add_row("infeasible", str(progress.infeasible))
        if progress.stopped:
            grid.add_row("stopped", str(progress.stopped), "early")
        if progress.failed:
            grid.add_row("failed", Text(str(progress.failed), "red"))
        running = sorted(progress.running.items())
        for number, trial in running[:MOST_RUNNING]:
            epoch = ""
            if trial.epochs:
                epoch = f"  epoch {min(trial.epochs_done() + 1, trial.epochs)}/{trial.epochs}"
            grid.add_row("running", f"#{number}", _fit(trial.architecture, room) + epoch)
        if len(running) > MOST_RUNNING:
            grid.add_row("", str(len(running) - MOST_RUNNING), "more")
        if progress.last:
            name = Text(_fit(progress.last.architecture, room) + "  ")
            grid.add_row("last", f"#{progress.last.number}", name + _outcome(progress.last, front))
        return grid


def _fit(architecture: str, room: int) -> str:
    """Cut the beginning, not the expert counts, where what follows would have no room."""
    room = max(room - len("  not on the front"), 12)
    return architecture if len(architecture) <= room else "…" + architecture[1 - room :]


def _outcome(last: Result, front: LiveFront) -> Text:
    if last.stopped:
        return Text("stopped early")
    if not last.values:
        return Text("failed", style="red")
    if last.on_front:
        return Text(f"front{_gain(front)}", style="green")
    return Text("not on the front" if last.feasible else "infeasible")


def _state(progress: SearchProgress) -> str:
    front = progress.front
    return f"hypervolume {_volume(front)}{_gain(front)}, front {front.size}"


def _volume(front: LiveFront) -> str:
    """The box of a single point says nothing."""
    return _number(front.hypervolume) if front.feasible > 1 else "–"


def _gain(front: LiveFront) -> str:
    return f" +{front.gain:.3f}" if front.gain and front.feasible > 1 else ""


def _print(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
