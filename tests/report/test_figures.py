from __future__ import annotations

import pytest
from pydantic import TypeAdapter
from synthetic_run import make_run

from moenas.errors import ConfigError
from moenas.report import tables
from moenas.report.figures import accuracy_per_tone, pareto_front, save_figures
from moenas.report.results import Trial, read_results
from moenas.report.theme import MONK_SCALE, styles
from moenas.serialisation import read_json, write_json

NAMES = ["accuracy-per-tone", "accuracy-per-light", "pareto-front", "pruning-curve"]
STARTS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize("kind", sorted(STARTS))
def test_all_figures_are_written_and_repeatable(full_run, kind):
    paths = save_figures(full_run, kind)
    assert [path.name for path in paths] == [f"{name}.{kind}" for name in NAMES]
    before = [path.read_bytes() for path in paths]
    assert all(data.startswith(STARTS[kind]) for data in before)
    if kind == "svg":
        assert [path.read_bytes() for path in save_figures(full_run, kind)] == before


def test_only_what_the_run_has(tmp_path):
    paths = save_figures(make_run(tmp_path / "run", ("trials",), trials=5), "svg")
    assert [path.stem for path in paths] == ["pareto-front"]


def test_tone_figure_draws_the_frame(full_run):
    comparison = read_results(full_run).comparison
    frame = tables.tones(comparison)
    axes = accuracy_per_tone(frame, styles(comparison.models)).axes[0]
    drawn = [list(container.lines[0].get_ydata()) for container in axes.containers]
    expected = [list(part["mean"] * 100) for _, part in frame.groupby("model", sort=False)]
    assert drawn == expected
    assert len(axes.patches) == len(MONK_SCALE)


def test_odd_names_are_drawn_as_they_are(full_run):
    data = read_json(full_run.comparison)
    data["models"][0]["name"] = "_$x^"
    data["models"][1]["name"] = "very long name " * 20
    write_json(full_run.comparison, data)
    text = save_figures(full_run, "svg")[0].read_text()
    assert "_$x^" in text


def test_the_front_needs_no_score_that_the_data_cannot_give(full_run):
    """Without labels of light there is no robustness, without groups no fairness."""
    trials = [t | {"robustness": None} for t in read_json(full_run.path / "trials.json")]
    frame = tables.trials(TypeAdapter(tuple[Trial, ...]).validate_python(trials))
    panels = pareto_front(frame).axes
    assert [axes.get_ylabel() for axes in panels] == ["Fairness (%)", "Parameters (M)"]
    measured = int(frame["balanced_accuracy"].notna().sum())
    for axes in panels:
        assert sum(len(dots.get_offsets()) for dots in axes.collections) == measured
    failed = [t | {"balanced_accuracy": None, "fairness": None} for t in trials]
    write_json(full_run.path / "trials.json", failed)
    assert "pareto-front" not in [path.stem for path in save_figures(full_run, "svg")]


def test_unknown_format(full_run):
    with pytest.raises(ConfigError, match="pdf, png, svg"):
        save_figures(full_run, "gif")
