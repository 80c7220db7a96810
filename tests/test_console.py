"""Tables on a terminal: what is shown is what was given, whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from moenas.cli.output import interval
from moenas.console import table
from moenas.report.measures import number, span


def printed(width: int, *arguments: object) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table(*arguments))  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_markup_in_names_is_text() -> None:
    shown = printed(80, "[bold]title", ("model", "[dim]acc."), [("[red]x", "[/red]1")])
    for text in ("[bold]title", "[dim]acc.", "[red]x", "[/red]1"):
        assert text in shown


@pytest.mark.parametrize("width", [80, 70])
def test_numbers_are_never_cut(width: int) -> None:
    numbers = ("11.18M", "83.1", "−101.8", "58.1", "80.0", "−10.4")
    name = "mobilenetv3_small_075_of_a_very_long_name"
    columns = ("model", "size", "acc.", "fair", "worst", "dim", "overfit", "scheme")
    shown = printed(width, "T", columns, [(name, *numbers, "mobilenetv2"), ("b", *numbers, "–")])
    lines = shown.splitlines()
    assert all(len(line) <= width for line in lines)
    assert "…" not in shown
    for value in numbers:
        assert shown.count(value) == 2
    first = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    assert first == f"{name}b"


def test_an_interval_that_is_not_known_is_no_pair_of_nans() -> None:
    nan = float("nan")
    assert interval(nan, nan) == interval(None, None) == ""
    assert span(nan, nan) == "no interval"
    assert number(nan) == "–"
