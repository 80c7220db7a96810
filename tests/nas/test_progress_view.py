from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from test_progress import UP, finished

from moenas.nas import progress_view
from moenas.nas.progress import Running, SearchProgress
from moenas.nas.progress_view import ProgressView, line, watch
from moenas.runs import ModelFolder

ID = "mobilevitv2_050-e118881111"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def some() -> SearchProgress:
    """A search with all that can be seen."""
    progress = SearchProgress(("balanced_accuracy", "fairness"), [UP, UP], 60)
    progress.finish(finished(0, 0.7, 0.8))
    progress.finish(finished(1, 0.8, 0.7))
    progress.finish(finished(2, 0.9, 0.9, over=0.1))
    progress.finish(finished(3))
    progress.finish(finished(4, 0.75, 0.79))
    progress.running = {n: Running(ID, ModelFolder(Path("nowhere")), 20) for n in range(5, 15)}
    return progress


def drawn(progress: SearchProgress, width: int, **options: object) -> str:
    target = Console(file=io.StringIO(), width=width, force_terminal=True, **options)  # type: ignore[arg-type]
    target.print(ProgressView(progress))
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def plain(progress: SearchProgress, width: int) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", drawn(progress, width)).splitlines()


def test_a_line_a_trial() -> None:
    progress = SearchProgress(("balanced_accuracy", "latency"), [UP, UP], 10)
    assert line(progress) == ""
    progress.finish(finished(0, 0.71234, 1234.5))
    assert line(progress) == (
        "1/10 trial 0 net-e0: balanced accuracy 0.712, latency 1234; hypervolume –, front 1"
    )
    progress.finish(finished(1, 0.6, 1500.0, over=0.1))
    assert " 1500 (infeasible); " in line(progress)
    progress.finish(finished(2, 0.6, 1500.0))
    found = re.search(r"hypervolume ([\d.]+) \+([\d.]+), front 2$", line(progress))
    assert found
    assert 0 < float(found[2]) < float(found[1]) == round(progress.front.hypervolume, 3)
    progress.finish(finished(3))
    assert line(progress) == "4/10 trial 3 net-e3: failed"


@pytest.mark.parametrize("colour", ["FORCE_COLOR", "NO_COLOR", None])
def test_a_log_gets_whole_lines_without_control_characters(
    colour: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    target = Console(stderr=True, force_terminal=False)
    monkeypatch.setattr(progress_view, "console", target)
    monkeypatch.setattr("moenas.console.console", target)
    if colour:
        monkeypatch.setenv(colour, "1")
    progress = some()
    with watch(progress) as show:
        progress.finish(finished(6, 0.72, 0.78))
        show()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("5 of 60 trials are there: hypervolume 0.")
    assert second == line(progress)
    assert not CONTROL.search(first + second)


def test_a_terminal_gets_a_picture_that_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Console(file=io.StringIO(), width=100, force_terminal=True, _environ={"TERM": "xterm"})
    monkeypatch.setattr(progress_view, "console", target)
    monkeypatch.setattr("moenas.console.console", target)
    progress = some()
    with watch(progress) as show:
        progress.finish(finished(5, 0.85, 0.85))
        show()
    assert isinstance(target.file, io.StringIO)
    text = target.file.getvalue()
    assert "6/60 trials" in text
    assert "\x1b[1A" in text  # back up, over what was drawn before


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_redraw_gets_lines(
    term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Console(file=io.StringIO(), width=100, force_terminal=True, _environ={"TERM": term})
    monkeypatch.setattr(progress_view, "console", target)
    monkeypatch.setattr("moenas.console.console", target)
    with watch(some()):
        pass
    assert isinstance(target.file, io.StringIO)
    assert target.file.getvalue().startswith("5 of 60 trials are there")


def test_what_is_drawn() -> None:
    text = "\n".join(plain(some(), 100))
    for words in (
        r"Search .* 5/60 trials  0:00:00 ",
        r"balanced accuracy +0\.800 +1  net-e1 +0\.750",
        r"fairness +0\.800 +0  net-e0 +0\.790",
        r"hypervolume +0\.\d{3}  [▁▂▃▄▅▆▇█]+",
        r"front +3  of 3 feasible",
        r"infeasible +1",
        r"failed +1",
        rf"running +#5  {ID}  epoch 1/20",
        r" 4  more",
        r"last +#4  net-e4  front \+0\.\d{3}",
    ):
        assert re.search(words, text), (words, text)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_it_fits(width: int) -> None:
    progress = some()
    lines = plain(progress, width)
    assert max(map(len, lines)) <= width
    assert len(lines) == len(plain(progress, 100))  # nothing wraps
    if width >= 60:
        assert any("8881111  epoch 1/20" in text for text in lines)
        assert "5/60" in lines[0]
        assert "left" in lines[0]


def test_before_the_first_trial() -> None:
    text = "\n".join(plain(SearchProgress(("fairness",), [UP], 5), 60))
    assert "0/5" in text
    assert re.search(r"fairness +– +–", text)
    assert re.search(r"hypervolume +–", text)
    assert "last  " not in text.splitlines()[-1]


def test_no_color_means_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;[\d;]+)m")
    assert colours.search(drawn(some(), 80, color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours.search(drawn(some(), 80, color_system="standard"))


def test_a_terminal_without_unicode_gets_no_blocks() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"  # type: ignore[assignment]

    target = Console(file=Ascii(), width=80, force_terminal=True)
    target.print(ProgressView(some()))
    assert "▁" not in target.file.getvalue()  # type: ignore[attr-defined]
